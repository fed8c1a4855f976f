"""One pass over all rows of a table, that keeps a bounded sample and what identifies the rest.

Each task keeps the rows with the smallest random keys and the last rows in order, so memory does
not grow with the data. Where a Ray runs and the table is large, a task reads each split; the rows
that it does not keep never leave it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import ray
from ray.exceptions import RayTaskError

from train.table.label_leak import ClassExtremes
from train.table.sample import merge_samples
from train.table.source import FileSplit
from train.table.split_scan import ScanPlan, ScanResult, scan_split
from train.table.table import Table, concat
from vigil.errors import DataError
from vigil.naming import name_differing

MIN_TASK_BYTES = 2**30  # smaller tables are read faster than tasks start
_TASK_RETRIES = 3  # of a split whose worker died
_SAMPLE_MARGIN = 6  # standard deviations


def scan_table(
    splits: Sequence[FileSplit],
    plan: ScanPlan,
    *,
    tasks: int = 1,
    on_rows: Callable[[int], None] = lambda _: None,
    min_task_bytes: int = MIN_TASK_BYTES,
) -> ScanResult:
    """Scan all splits together; in `tasks` tasks at once where Ray runs and the table is large.

    A table is large from `min_task_bytes` on. `on_rows` gets the number of rows that were read so
    far. Raises DataError for rows that cannot be learnt from.
    """
    plan = replace(plan, key_limit=_key_limit(splits, plan))
    if _is_worth_tasks(splits, min_task_bytes):
        results: Iterable[ScanResult] = _scan_on_ray(splits, plan, tasks)
    else:
        results = (_scan(splits, number, plan) for number in range(len(splits)))
    whole: ScanResult | None = None
    for split, result in zip(splits, results, strict=True):
        whole = result if whole is None else merge_results(whole, result, split, plan.max_rows)
        on_rows(whole.rows)
    assert whole is not None
    return replace(whole, sample=whole.sample.in_order())


def _key_limit(splits: Sequence[FileSplit], plan: ScanPlan) -> float:
    """A limit below which are almost surely enough keys: no task need return `max_rows` rows."""
    counts = [split.rows for split in splits if split.rows is not None]
    rows = sum(counts)
    if len(counts) < len(splits) or rows <= plan.max_rows:
        return plan.key_limit
    enough = plan.max_rows + _SAMPLE_MARGIN * plan.max_rows**0.5
    return min(1.0, enough / rows)


def _is_worth_tasks(splits: Sequence[FileSplit], min_bytes: int) -> bool:
    if len(splits) == 1 or not ray.is_initialized():
        return False
    files = {split.file for split in splits}
    return sum(file.size for file in files) > min_bytes


def _scan(
    splits: Sequence[FileSplit],
    number: int,
    plan: ScanPlan,
) -> ScanResult:
    return scan_split(
        splits[number],
        number,
        plan,
        _tail_rows(splits, number, plan),
    )


def _tail_rows(
    splits: Sequence[FileSplit],
    number: int,
    plan: ScanPlan,
) -> int:
    """How many of the last rows of a split can be among the last of all."""
    return max(0, plan.max_rows - _known_rows(splits[number + 1 :]))


def _known_rows(splits: Sequence[FileSplit]) -> int:
    return sum(split.rows or 0 for split in splits)


def _scan_on_ray(
    splits: Sequence[FileSplit],
    plan: ScanPlan,
    tasks: int,
) -> Iterator[ScanResult]:
    """In the order of the splits, each in a task that Ray tries again when its worker dies.

    Of results that wait for their turn there are at most as many as tasks.
    """
    pool = ThreadPoolExecutor(tasks)
    waiting: deque[Future[ScanResult]] = deque()
    try:
        for number, split in enumerate(splits):
            if len(waiting) == 2 * tasks:
                yield waiting.popleft().result()
            tail_rows = _tail_rows(splits, number, plan)
            waiting.append(
                pool.submit(
                    _scan_in_task,
                    split,
                    number,
                    plan,
                    tail_rows,
                )
            )
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _scan_in_task(
    split: FileSplit,
    number: int,
    plan: ScanPlan,
    tail_rows: int,
) -> ScanResult:
    task = ray.remote(num_cpus=1, max_retries=_TASK_RETRIES)(scan_split)
    try:
        return ray.get(
            task.remote(
                split,
                number,
                plan,
                tail_rows,
            )
        )
    except RayTaskError as error:
        if isinstance(error.cause, DataError):
            raise error.cause from None
        raise


def merge_results(
    former: ScanResult,
    later: ScanResult,
    split: FileSplit,
    max_rows: int,
) -> ScanResult:
    """Return what was found in both; `later` is that of `split`, which follows.

    Raises DataError where their columns, labels or times do not go together.
    """
    _check_same_columns(former, later, split)
    former.time_order.follow(later.time_order, split)
    return replace(
        former,
        rows=former.rows + later.rows,
        sample=merge_samples([former.sample, later.sample], max_rows),
        tail=concat([former.tail, later.tail]).tail(max_rows),
        digests=_merged_digests(former, later),
        test=_merged_tests(former, later),
        extremes=_merged_extremes(former, later),
        missing=former.missing + later.missing,
        unknown=Counter(former.unknown) + Counter(later.unknown),
    )


def _check_same_columns(
    former: ScanResult,
    later: ScanResult,
    split: FileSplit,
) -> None:
    path = split.file.path
    if former.names != later.names:
        differing = name_differing(former.names, later.names)
        raise DataError(
            f"{path} has not the columns of the files before it: they differ in "
            f"{differing or 'their order: say which one with --columns'}"
        )
    if former.is_labelled != later.is_labelled:
        raise DataError(f"{path} has labels and files before it have none, or the other way round")


def _merged_digests(former: ScanResult, later: ScanResult) -> dict[str, tuple[str, ...]]:
    return {
        name: (*digests, *later.digests.get(name, ())) for name, digests in former.digests.items()
    }


def _merged_tests(former: ScanResult, later: ScanResult) -> Table | None:
    tests = [test for test in (former.test, later.test) if test is not None]
    return concat(tests) if tests else None


def _merged_extremes(former: ScanResult, later: ScanResult) -> ClassExtremes | None:
    if former.extremes is None or later.extremes is None:
        return None
    return former.extremes.merged(later.extremes)
