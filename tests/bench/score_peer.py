# pyright: reportMissingImports=false
"""Times one peer in its own environment: `score_peer.py PEER FOLDER SIZE...`.

FOLDER holds forest.joblib and X.npy. Prints JSON: for each size the shortest call in seconds,
and the largest difference to scikit-learn's scores. It imports nothing of Vigil, whose
libraries are not there.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np


def onnxruntime(forest, X):
    import onnxruntime
    from skl2onnx import to_onnx

    model = to_onnx(forest, X[:1], target_opset={"": 17, "ai.onnx.ml": 3})
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    offset = float(forest.offset_)  # its scores are those of decision_function
    return lambda rows: session.run(["scores"], {"X": rows})[
        0
    ].ravel(), lambda found: -(found + offset)


def treelite(forest, X):
    import treelite

    model = treelite.sklearn.import_model(forest)
    return lambda rows: treelite.gtil.predict(model, rows, nthread=1).ravel(), lambda found: found


def tl2cgen(forest, X):
    import tl2cgen
    import treelite

    model = treelite.sklearn.import_model(forest)
    library = Path(tempfile.mkdtemp()) / "forest.so"
    tl2cgen.export_lib(model, toolchain="gcc", libpath=library, params={"parallel_comp": 2})
    predictor = tl2cgen.Predictor(library, nthread=1)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows)).ravel(), lambda found: found


def isotree(forest, X):
    """It cannot take a forest: it grows one of the same size and kind of its own."""
    own = isotree_forest().fit(X)
    return own.predict, lambda found: found


def isotree_forest():
    from isotree import IsolationForest

    return IsolationForest(
        ndim=1,
        ntrees=100,
        sample_size=256,
        missing_action="fail",
        nthreads=1,
        random_seed=0,
    )


def best(call, seconds=1.5):
    call()
    shortest, end = float("inf"), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


PEERS = {"onnxruntime": onnxruntime, "treelite": treelite, "tl2cgen": tl2cgen, "isotree": isotree}


def main(peer, folder, *sizes):
    forest, X = (
        joblib.load(Path(folder) / "forest.joblib"),
        np.load(Path(folder) / "X.npy").astype(np.float32),
    )
    predict, as_score = PEERS[peer](forest, X)
    difference = np.abs(as_score(predict(X)) + forest.score_samples(X))
    seconds = {size: best(lambda rows=X[: int(size)]: predict(rows)) for size in sizes}
    found = {"seconds": seconds, "difference": float(difference.max())}
    print(json.dumps(found | {"mean_difference": float(difference.mean())}))


def fit(rows, features):
    """Seconds of the shortest fit of isotree to so many rows, and where they lie by columns."""
    X = np.random.default_rng(0).normal(size=(int(rows), int(features)))
    by_columns = np.asfortranarray(X)
    found = {
        "seconds": best(lambda: isotree_forest().fit(X)),
        "by_columns": best(lambda: isotree_forest().fit(by_columns)),
    }
    print(json.dumps(found))


if sys.argv[1] == "fit":
    fit(*sys.argv[2:])
else:
    main(*sys.argv[1:])
