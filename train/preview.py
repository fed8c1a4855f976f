"""What the first rows of a table say of a job, before anything is started for it."""

from __future__ import annotations

from train.spec import JobSpec
from train.spec_options import bad_option
from train.table.preview import preview
from vigil.errors import UnfitTransform


def preview_job(spec: JobSpec, min_rows: int | None) -> None:
    """Raise DataError for a table that cannot be learnt from, as its first rows show.

    With `min_rows` it has at least so many rows. Raises click.BadParameter for a transform that
    needs what the table does not have.
    """
    try:
        preview(
            spec.data,
            spec.columns,
            allow_missing=spec.imputing is not None,
            min_rows=min_rows,
            over_time=spec.transform,
        )
    except UnfitTransform as error:
        raise bad_option("over_time", error.message) from error
