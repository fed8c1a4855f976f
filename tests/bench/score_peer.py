# pyright: reportMissingImports=false
"""Times one peer in its own environment: `score_peer.py PEER FOLDER SIZE...`.

FOLDER holds forest.joblib and X.npy. Prints JSON: for each size the shortest call in seconds,
and the largest difference to scikit-learn's scores. It imports nothing of Vigil, whose
libraries are not there.
"""

import json
import sys
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


def best(call, seconds=1.5):
    call()
    shortest, end = float("inf"), time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call()
        shortest = min(shortest, time.perf_counter() - began)
    return shortest


def main(peer, folder, *sizes):
    forest, X = (
        joblib.load(Path(folder) / "forest.joblib"),
        np.load(Path(folder) / "X.npy").astype(np.float32),
    )
    predict, as_score = {"onnxruntime": onnxruntime, "treelite": treelite}[peer](forest, X)
    difference = float(np.abs(as_score(predict(X)) + forest.score_samples(X)).max())
    seconds = {size: best(lambda rows=X[: int(size)]: predict(rows)) for size in sizes}
    print(json.dumps({"seconds": seconds, "difference": difference}))


main(*sys.argv[1:])
