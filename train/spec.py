"""One training job: what is asked for, and what comes of it.

The fields of JobSpec are the options of `vigil train`, the arguments of a Ray job, and what the
bundle of a model keeps for its retraining. A new option is a new field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from train.table.cells import join_names, split_names
from train.table.impute import DEFAULT_MAX_MISSING, Imputing, parse_impute
from train.table.s3 import is_s3
from train.table.schema import Columns
from train.table.transform.grammar import parse_steps
from train.table.words import parse_category
from vigil.errors import DataError
from vigil.json_types import Fields, JsonObject, without_none

if TYPE_CHECKING:
    from train.registry.versions import Version

Trigger = Literal["manual", "schedule", "volume", "drift"]
_REQUIRED: Any = ...
NO_TRANSFORM = "none"
_KEY = re.compile(r"[\w.:-]{1,100}")
# Fields of an option that older models have not: nothing is said of them where it was not given.
_IMPUTING = ("impute", "max_missing")
# Fields that the bundle keeps, and MLflow shows, as one group.
_ROLES = {
    "label": "label",
    "time": "time",
    "entity": "entity",
    "features": "features",
    "schema_file": "schema",
    "ignore": "ignore",
    "categories": "categories",
}


def _option(
    default: Any,
    description: str,
    **about: Any,
) -> Any:
    """A field of JobSpec, which is an option of `vigil train`.

    about: `option`, its name there; `metavar`; `value_alone`, that of the option without a value;
    `above`, a bound; `is_path`, made absolute for another folder; `is_kept`, in the bundle
    """
    return Field(
        default=default,
        description=description,
        json_schema_extra=about,
    )


def _check_key(key: str | None) -> str | None:
    if key is not None and not _KEY.fullmatch(key):
        raise ValueError("letters, digits and _ . : - only, at most 100")
    return key


def _check_share(share: float | None) -> float | None:
    if share is not None and not 0 < share <= 1:
        raise ValueError("a share is above 0, and at most 1")
    return share


def _check_impute(impute: str) -> str:
    parse_impute(impute)
    return impute


def _check_transform(over_time: str | None) -> str | None:
    if over_time not in (None, NO_TRANSFORM):
        try:
            parse_steps(over_time)
        except DataError as error:
            raise ValueError(error.message) from error
    return over_time


def _split_option(names: Any) -> Any:
    """Names as the command line has them, with commas between."""
    if not isinstance(names, str):
        return names
    return split_names(names) if names.strip() else None


def steps_text(over_time: str) -> str:
    """Return the steps of a transform as it was asked for; "" for `none`."""
    return "" if over_time == NO_TRANSFORM else over_time


def _name_none(over_time: Any) -> Any:
    """Nothing, as an older Vigil has it, by its name."""
    return NO_TRANSFORM if over_time == "" else over_time


_OverTime = Annotated[
    str | None,
    BeforeValidator(_name_none),
    AfterValidator(_check_transform),
]
_Names = Annotated[tuple[str, ...] | None, BeforeValidator(_split_option)]


class JobSpec(BaseModel):
    """One training job.

    data: the baseline table; captured/since: live rows from that Unix time on are trained on as
    well, and become the reference; key: a second job with the same key returns the version of the
    first; tune: seconds to search for the parameters of the forest, and the transform where none is
    named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = _option(
        _REQUIRED,
        "CSV, Parquet or .npz: a file, folder or glob, local or s3://",
        is_path=True,
    )
    label: str | None = _option(
        None,
        "column (array) of labels, 1 = anomaly",
    )
    time: str | None = _option(
        None,
        "column of times, which must rise",
    )
    entity: str | None = _option(
        None,
        "column that says whose row it is: time rises, and a transform looks back, within one",
    )
    features: _Names = _option(
        None,
        "features to learn from, with commas between (default: all other columns)",
        option="columns",
    )
    ignore: _Names = _option(
        None,
        "columns to leave out, with commas between",
    )
    schema_file: str | None = _option(
        None,
        "file of the schema: written if it is not there, else enforced",
        option="schema",
        is_path=True,
    )
    categories: _Names = _option(
        None,
        "features that are words: proto,service:frequency (one-hot where nothing is said)",
    )
    shuffled: bool = _option(
        False,
        "the rows are in no order of time: hold out random ones, not the latest",
    )
    over_time: _OverTime = _option(
        None,
        "transform, as diff:1,mean:10,sd:10 (also min, max, ewm, zscore, baseline, calendar:ZONE, "
        "season:ZONE, residual, rotate, top:N): what a row is beside those before it, its entity "
        "and its time; none (default: sd:5,sd:20,residual,top:8 where rows are in time order)",
    )
    impute: Annotated[str, AfterValidator(_check_impute)] = _option(
        "",
        "what stands for missing values: median, last or refuse; by feature: cpu:last,net:median",
    )
    max_missing: Annotated[float | None, AfterValidator(_check_share)] = _option(
        None,
        "with --impute: a row with a larger share of its values missing is refused (default: 0.5)",
        above=0,
    )
    tune: float = _option(
        0.0,
        "search trees, max_samples, max_features and, with labels, a transform for so long "
        "(default of the option: 120)",
        metavar="SECONDS",
        value_alone=120.0,
        above=0,
        is_kept=False,
    )
    captured: str | None = _option(
        None,
        "folder or s3:// URL of captured live rows to train on as well",
        is_path=True,
        is_kept=False,
    )
    since: float = _option(
        0.0,
        "captured rows from this Unix time on",
    )
    until: float | None = _option(
        None,
        "captured rows before this Unix time",
        is_kept=False,
    )
    trigger: Trigger = _option(
        "manual",
        "",
    )
    key: Annotated[str | None, AfterValidator(_check_key)] = _option(
        None,
        "idempotency key: a second job with it returns the first one's version",
        is_kept=False,
    )

    @classmethod
    def about(cls, name: str) -> JsonObject:
        """Return what is declared of a field besides its type and default."""
        about = cls.model_fields[name].json_schema_extra
        assert isinstance(about, dict), "declared without _option()"
        return about

    @classmethod
    def option(cls, name: str) -> str:
        """Return the name of a field on the command line, without dashes before it."""
        return cls.about(name).get("option", name.replace("_", "-"))

    @classmethod
    def role_fields(cls) -> tuple[str, ...]:
        """Return the fields that say the roles of columns."""
        return tuple(_ROLES)

    @classmethod
    def table_fields(cls) -> tuple[str, ...]:
        """Return the fields that say how a table is learnt from: roles, time, missing values."""
        return (*_ROLES, "over_time", "shuffled", *_IMPUTING)

    @classmethod
    def of_bundle(
        cls,
        info: Fields,
        **values: Any,
    ) -> Self:
        """Return the job that trained a model, given the `info` of its bundle, with other `values`.

        That of an older Vigil lacks fields, or has the label in `columns` alone.
        """
        columns = info.get("columns") or {}
        kept: Fields = {name: columns[role] for name, role in _ROLES.items() if columns.get(role)}
        kept["over_time"] = NO_TRANSFORM  # of a model before there were any
        for name in cls._kept_fields():
            if info.get(name) is not None:
                kept[name] = info[name]
        return cls(**(kept | values))

    @classmethod
    def _kept_fields(cls) -> list[str]:
        return [name for name in cls.model_fields if cls.about(name).get("is_kept", True)]

    @property
    def columns(self) -> Columns:
        """What it says of the columns of the table."""
        roles = self._roles()
        if self.categories is not None:
            roles["categories"] = tuple(map(parse_category, self.categories))
        return Columns(**without_none(roles))

    def _roles(self) -> JsonObject:
        return {role: getattr(self, name) for name, role in _ROLES.items()}

    @property
    def imputing(self) -> Imputing | None:
        """What stands for missing values; None: they are refused."""
        if not self.impute:
            return None
        return Imputing(parse_impute(self.impute), self._max_missing())

    def _max_missing(self) -> float:
        return DEFAULT_MAX_MISSING if self.max_missing is None else self.max_missing

    @property
    def transform(self) -> str | None:
        """The transform of the rows; "" for none, None where the table says which.

        Nothing is added unasked to captured rows, which have the features that they were scored by,
        nor to rows in no order.
        """
        unasked = NO_TRANSFORM if self._is_plain() else None
        over_time = self.over_time or unasked
        return over_time and steps_text(over_time)

    def _is_plain(self) -> bool:
        """Whether no transform is added unasked."""
        return self.shuffled or self.captured is not None

    def grouped(self) -> JsonObject:
        """Return the fields as MLflow shows them: the roles of columns are one group."""
        groups = self.model_dump(exclude=_ROLES.keys() - {"label"})
        return groups | {"columns": self._roles()}

    def kept(self) -> JsonObject:
        """Return what the bundle keeps of the job, as JSON: see `of_bundle`."""
        groups = self.absolute().grouped()
        names = [name for name in self._kept_fields() if name in groups and _says(name, groups)]
        roles = without_none(groups["columns"])
        since = self.since or None
        return {name: groups[name] for name in names} | {
            "columns": roles,
            "since": since,
        }

    def absolute(self) -> Self:
        """Return the same job for whatever folder it is run in."""
        paths = [name for name in type(self).model_fields if self.about(name).get("is_path")]
        values = {name: getattr(self, name) for name in paths}
        return self.model_copy(
            update={name: _absolute(path) for name, path in values.items() if path}
        )

    def arguments(self) -> list[str]:
        """Return the `vigil` command line that does this job."""
        return ["train", *self._options(type(self).model_fields), "--json"]

    def table_arguments(self) -> list[str]:
        """Return the options of a command that learns from the same table in the same way."""
        return self._options(("data", *self.table_fields()))

    def _options(self, names: Iterable[str]) -> list[str]:
        values = {name: getattr(self, name) for name in names}
        return [_argument(self.option(name), value) for name, value in values.items() if value]


def _says(name: str, values: Fields) -> bool:
    """Whether a field says more than that nothing was asked for."""
    return name not in _IMPUTING or bool(values[name])


def _argument(option: str, value: Any) -> str:
    if value is True:
        return f"--{option}"
    if isinstance(value, tuple):
        return f"--{option}={join_names(value)}"
    return f"--{option}={value}"


def _absolute(path: str) -> str:
    return path if is_s3(path) else str(Path(path).absolute())


@dataclass(frozen=True)
class JobResult:
    """The registered version of a job, and the gate's verdict on it."""

    version: Version
    verdict: JsonObject

    def to_json(self) -> JsonObject:
        """Return what `vigil train --json` prints."""
        version = self.version
        return {
            "version": version.version,
            "run_id": version.run_id,
            "digest": version.digest,
            "metrics": dict(version.metrics),
            "verdict": self.verdict,
        }
