"""The training job: data -> fit -> calibrate -> evaluate -> bundle -> gate -> register."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from sklearn.ensemble import IsolationForest

from train.challenger import Assessment, TrainingSetup, assemble_challenger, judge
from train.model.bundle import ModelBundle
from train.model.distances import robust_spread, visible_spread
from train.model.fit import fit
from train.model.gate import GateVerdict
from train.preload import TO_REGISTER, preload
from train.progress import JobProgress, Listener
from train.refit import agreement_on_held_out, is_refitted, refit
from train.registry.candidate import Candidate
from train.registry.describe import run_parameters
from train.registry.versions import Registry, Version
from train.settings import TrainSettings
from train.spec import NO_TRANSFORM, JobResult, JobSpec
from train.table.row_making import RowMaking
from train.table.table import Table
from train.table.training_data import TrainingData, load_training_data
from train.transform_candidates import UNLABELLED, transforms_to_try
from train.tune import Search, SearchSpace, TrialTables
from vigil.errors import RegistryError
from vigil.home import Home
from vigil.revision import checked_out_commit

_REGISTER_TIMEOUT_S = 90.0  # longer than the lock of a driver that has died is respected
_REGISTER_POLL_INTERVAL_S = 0.5
_CONSTANT = "is constant; it is kept but carries nothing"
_BLURRED = (
    "varies by less than float32 can tell apart so far from zero, in which forests work: "
    "subtract an offset"
)


def run_job(
    spec: JobSpec,
    settings: TrainSettings,
    registry: Registry,
    home: Home,
    listener: Listener | None = None,
) -> JobResult:
    """Train, judge and register one version, telling `listener`; needs a connected Ray.

    Raises DataError for unusable data and VigilError when the job fails; a failed job registers
    nothing.
    """
    key = spec.key or uuid.uuid4().hex
    version = registry.of_job(key)
    if version is None:
        job = _Job(
            spec,
            settings,
            registry,
            home,
            JobProgress(listener),
            key,
        )
        version = job.run()
    return JobResult(version, registry.gate(version))


@dataclass
class _Job:
    """One run of a job; `key` names it."""

    spec: JobSpec
    settings: TrainSettings
    registry: Registry
    home: Home
    progress: JobProgress
    key: str
    champion: ModelBundle | None = field(init=False)

    def __post_init__(self) -> None:
        champion = self.registry.champion()
        self.champion = self.registry.fetch(champion, self.home.cache) if champion else None

    def run(self) -> Version:
        """Train, judge and register the version."""
        setup = self._set_up()
        fitted = self._fit(setup)
        with self.progress.phase("calibrate"):
            challenger = assemble_challenger(fitted, setup, self.champion)
        with self.progress.phase("evaluate"):
            assessment = judge(challenger, self.champion, setup)
        self.progress.say(assessment.verdict.text())
        if assessment.verdict.passed and is_refitted(setup):
            fitted, challenger = self._refit(challenger, setup, fitted)
        candidate = self._candidate(
            fitted,
            challenger,
            setup,
            assessment=assessment,
        )
        return self._register(candidate)

    def _refit(
        self,
        judged: ModelBundle,
        setup: TrainingSetup,
        fitted: IsolationForest,
    ) -> tuple[IsolationForest, ModelBundle]:
        """The forest of all rows, unless it sees them otherwise than the one that was judged."""
        with self.progress.phase("refit"):
            refitted = refit(setup, self.champion)
        agreement = agreement_on_held_out(judged, refitted.bundle, setup)
        if agreement < setup.settings.min_seed_agreement:
            self.progress.say("the forest of all rows scores otherwise: the judged one is kept")
            return fitted, judged
        self.progress.say(f"fitted again on all {refitted.rows} rows, the held-out ones too")
        return refitted.forest, refitted.bundle

    def _set_up(self) -> TrainingSetup:
        """Read the rows, and search for the parameters where the job asks for it."""
        with self.progress.phase("read"):
            data = self._load(self.spec)
            spec = self.spec.model_copy(update={"over_time": data.over_time or NO_TRANSFORM})
            setup = TrainingSetup(spec, self.settings, data)
        if not self.spec.tune:
            return setup
        with self.progress.phase("tune"):
            return self._tune(setup)

    def _register(self, candidate: Candidate) -> Version:
        with self.progress.phase("register"):
            version = register_once(self.key, candidate, self.registry)
        self.progress.say(f"registered version {version.version}")
        return version

    def _load(self, spec: JobSpec) -> TrainingData:
        making = RowMaking.of(self.champion) if self.champion else None
        return load_training_data(
            spec,
            self.settings,
            self.progress,
            making,
        )

    def _tune(self, setup: TrainingSetup) -> TrainingSetup:
        """The job with the best configuration that a search of `spec.tune` seconds finds."""
        spec = setup.spec
        present = setup.data.over_time
        loaded = {present: setup.data}

        def load(over_time: str) -> TrialTables:
            if over_time not in loaded:
                loaded[over_time] = self._load(spec.model_copy(update={"over_time": over_time}))
            data = loaded[over_time]
            return TrialTables(data.fit, data.held_out)

        search = Search(
            setup.settings,
            SearchSpace(transforms=self._transforms_to_try(setup)),
            self.home.state / "tune",
            self.progress.say,
        )
        best, trials = search.run(load, present, spec.tune)
        return TrainingSetup(
            spec.model_copy(update={"over_time": best.over_time or NO_TRANSFORM}),
            best.settings(setup.settings),
            loaded[best.over_time],
            trials,
        )

    def _transforms_to_try(self, setup: TrainingSetup) -> tuple[str, ...]:
        """Only labels can say what a transform is worth."""
        data = setup.data
        is_told = self.spec.over_time is not None or setup.is_retraining
        if is_told or not data.fit.ordered:
            return ()
        if data.held_out.mixed_labels is None:
            self.progress.say(UNLABELLED)
            return ()
        names = data.fit.names if data.transform is None else data.transform.names
        return transforms_to_try(len(names))

    def _fit(self, setup: TrainingSetup) -> IsolationForest:
        self._tell_rows(setup.data)
        settings = setup.settings

        def on_trees(trees: int) -> None:
            self.progress.trees(trees, settings.n_estimators)

        # Workers take seconds to start: meanwhile this process does what needs no forest.
        preload(TO_REGISTER)
        with self.progress.phase("fit"), ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: setup.measured_rows)
            fitted = fit(
                setup.data.fit.X,
                settings,
                self.home.state / "train",
                on_trees,
                names=setup.data.fit.names,
            )
        self.progress.say(f"fitted {fitted.n_estimators} trees on {settings.workers} workers")
        return fitted

    def _tell_rows(self, data: TrainingData) -> None:
        fit_rows = data.fit
        self.progress.say(
            f"{len(fit_rows)} rows of {len(fit_rows.names)} features to fit, "
            f"{len(data.held_out)} held out"
        )
        for warning in feature_warnings(fit_rows):
            self.progress.say(f"warning: {warning}")

    def _candidate(
        self,
        fitted: IsolationForest,
        challenger: ModelBundle,
        setup: TrainingSetup,
        *,
        assessment: Assessment,
    ) -> Candidate:
        from train.model.plots import draw_plots  # matplotlib, which was loaded meanwhile

        data = setup.data
        return Candidate(
            fitted,
            challenger,
            params=run_parameters(setup.spec.grouped(), setup.settings, challenger),
            metrics=assessment.metrics | self._seconds(),
            tags=self._tags(setup, assessment.verdict),
            gate=assessment.verdict.to_json(),
            data=data.fingerprint,
            plots=draw_plots(challenger, data.held_out, data.test or data.held_out),
            commit=setup.settings.revision or checked_out_commit(),
            trials=setup.trials,
        )

    def _seconds(self) -> dict[str, float]:
        return {f"seconds_{phase}": took for phase, took in self.progress.seconds.items()}

    def _tags(
        self,
        setup: TrainingSetup,
        verdict: GateVerdict,
    ) -> dict[str, str]:
        return {
            "data_fingerprint": setup.data.fingerprint.digest,
            "trigger": setup.spec.trigger,
            "job": self.key,
            "verdict": "passed" if verdict.passed else "failed",
        }


def feature_warnings(rows: Table) -> list[str]:
    """Return what is to be said of features that a forest learns nothing from."""
    constant = [
        f"feature {name!r} is constant; it is kept but carries nothing" for name in rows.constant
    ]
    spread = visible_spread(rows.X, robust_spread(rows.X))
    unseen = [name for name, seen in zip(rows.names, spread > 0, strict=True) if not seen]
    blurred = [name for name in unseen if name not in rows.constant]
    return constant + [f"feature {name!r} {_BLURRED}" for name in blurred]


def register_once(
    key: str,
    candidate: Candidate,
    registry: Registry,
) -> Version:
    """Register the version of a job, or return the one that another driver of it has registered.

    Two drivers may have come this far: the lock lets one of them register, the other waits for it.
    """
    deadline = time.monotonic() + _REGISTER_TIMEOUT_S
    while True:
        version = registry.of_job(key)
        if version is not None:
            return version
        with ExitStack() as stack:
            if _acquire_lock(
                stack,
                key,
                registry,
                is_last_try=time.monotonic() > deadline,
            ):
                return registry.of_job(key) or registry.register(candidate)
        time.sleep(_REGISTER_POLL_INTERVAL_S)


def _acquire_lock(
    stack: ExitStack,
    key: str,
    registry: Registry,
    *,
    is_last_try: bool,
) -> bool:
    """Return whether the lock of the job is held, until `stack` ends; raises on the last try."""
    try:
        stack.enter_context(registry.exclusive("vigil train", f"job-{key}"))
    except RegistryError:
        if is_last_try:
            raise
        return False
    return True
