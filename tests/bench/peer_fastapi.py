"""The plain app that Vigil replaces: FastAPI, a request model, and scikit-learn.

scikit-learn is called for every request. The app runs on its own.
"""

from __future__ import annotations

import sys
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Row(BaseModel):
    """One row in the model's order."""

    features: list[float]


def app(model: Any) -> FastAPI:
    made = FastAPI()

    @made.post("/predict")
    def predict(row: Row) -> dict[str, Any]:
        X = np.array([row.features])
        score, label = -model.score_samples(X)[0], int(model.predict(X)[0])
        return {"prediction": label, "is_anomaly": label == -1, "anomaly_score": float(score)}

    return made


if __name__ == "__main__":
    uvicorn.run(
        app(joblib.load(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning"
    )
