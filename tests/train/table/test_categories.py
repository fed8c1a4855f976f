"""Declared categories: the words of a table as numbers, and what is refused of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.table.categories import Category, CategoryCodec, read_categories
from train.table.dataset import read_table
from train.table.impute import Imputing
from train.table.row_making import RowMaking
from train.table.schema import Columns
from train.table.words import MAX_WORD_LENGTH, DeclaredCategory, parse_category, why_no_word
from vigil.errors import DataError

PROTO = Category("proto", "one-hot", ("tcp", "udp"), (0.75, 0.25))
SERVICE = Category("service", "frequency", ("dns", "http"), (0.2, 0.8))
CODEC = CategoryCodec(("cpu", "proto", "net", "service"), (PROTO, SERVICE))
DECLARED = Columns(categories=(DeclaredCategory("proto"),))


def written(folder: Path, text: str) -> Path:
    path = folder / "rows.csv"
    path.write_text(text)
    return path


def test_words_become_columns_in_the_place_of_their_feature() -> None:
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    words = np.array([["udp", "http"], ["icmp", "ftp"]], object)
    assert CODEC.outputs == ("cpu", "proto=tcp", "proto=udp", "net", "service:frequency")
    assert CODEC.join(X, words).tolist() == [[1, 0, 1, 2, 0.8], [3, 0, 0, 4, 0]]
    assert CODEC.unknown_counts(CODEC.join(X, words)) == {"proto": 1, "service": 1}


texts = st.text(min_size=1, max_size=12).filter(lambda text: why_no_word(text) is None)


@given(words=st.lists(texts, min_size=1, max_size=30))
def test_every_known_word_has_a_column_and_no_unknown_one_has(words: list[str]) -> None:
    known = Category("c", "one-hot", ("tcp",), (1.0,))
    codec = CategoryCodec(("c",), (known,))
    X = codec.join(np.empty((len(words), 0)), np.array(words, object)[:, None])
    assert X.sum() == sum(word.strip() == "tcp" for word in words)
    assert codec.unknown_counts(X) == {"c": len(words) - int(X.sum())}


def test_a_codec_is_read_as_it_was_written() -> None:
    assert read_categories(json.loads(json.dumps(CODEC.to_json()))) == CODEC


@pytest.mark.parametrize(
    "flawed",
    [
        replace(PROTO, encoding="embedding"),
        replace(PROTO, shares=(1.0,)),
        replace(PROTO, shares=(0.9, 0.9)),
        replace(PROTO, words=("tcp", "x\x00")),
        replace(PROTO, words=("tcp", "x" * 101)),
        replace(PROTO, words=tuple(map(str, range(65))), shares=(0.01,) * 65),
    ],
)
def test_a_codec_that_is_none_is_refused(flawed: Category) -> None:
    stored = json.loads(json.dumps(replace(CODEC, categories=(flawed, SERVICE)).to_json()))
    with pytest.raises((ValueError, TypeError)):
        read_categories(stored)


def test_a_declaration_names_a_column_and_an_encoding() -> None:
    assert parse_category("proto") == ("proto", "one-hot")
    assert parse_category(" service:frequency") == ("service", "frequency")
    assert parse_category("a:b") == ("a:b", "one-hot")


def test_training_learns_the_words_of_all_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "cpu,proto\n1,tcp\n2, udp\n3,tcp\n4,007\n5,NA\n")
    data = read_table(path, columns=DECLARED)
    assert data.train.names == ("cpu", "proto=007", "proto=NA", "proto=tcp", "proto=udp")
    assert data.train.X[0].tolist() == [1, 0, 0, 1, 0]
    assert data.categories is not None
    assert data.unknown == {}
    assert any("'proto' is a category of 4 words" in remark for remark in data.remarks)


def test_a_table_is_made_by_the_words_of_a_champion(tmp_path: Path) -> None:
    path = written(tmp_path, "proto,cpu\ntcp,1\nsctp,2\n")
    codec = CategoryCodec(("cpu", "proto"), (PROTO,))
    making = RowMaking(codec.outputs, categories=codec)
    data = read_table(path, making=making)
    assert data.train.X.tolist() == [[1, 1, 0], [2, 0, 0]]
    assert data.unknown == {"proto": 1}
    assert any("1 of 2 rows have a word that is unknown" in remark for remark in data.remarks)


def test_words_are_kept_for_a_sender(tmp_path: Path) -> None:
    path = written(tmp_path, "cpu,proto,net\n1,tcp,2\n3,udp,4\n")
    rows = read_table(path, columns=DECLARED, keeps_words=True).train
    assert [rows.sent_row(i, rows.X[i].tolist()) for i in (0, 1)] == [[1, "tcp", 2], [3, "udp", 4]]


def test_the_share_that_may_be_missing_is_of_what_is_sent(tmp_path: Path) -> None:
    words = "\n".join(f"{'' if i == 40 else i},{'' if i == 40 else i},w{i % 20}" for i in range(50))
    path = written(tmp_path, f"cpu,net,proto\n{words}\n")
    with pytest.raises(DataError, match="as are 67% of the row"):
        read_table(path, columns=DECLARED, imputing=Imputing({"": "median"}))


def test_the_schema_file_keeps_what_was_declared(tmp_path: Path) -> None:
    path = written(tmp_path, "cpu,proto\n1,tcp\n2,udp\n")
    schema = str(tmp_path / "schema.json")
    read_table(path, columns=replace(DECLARED, schema=schema))
    again = read_table(path, columns=Columns(schema=schema))
    assert again.train.names == ("cpu", "proto=tcp", "proto=udp")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cpu,proto\n1,tcp\n2,\n", "line 3, column 'proto': the value is missing: give what"),
        ("cpu,proto\n1,tcp\n2,  \n", "line 3, column 'proto': the value is missing"),
        (f"cpu,proto\n1,{'x' * 101}\n", f"101 characters, a category at most {MAX_WORD_LENGTH}"),
        ("cpu,proto\n1,a\x07b\n", "cannot be printed: remove them"),
        ("cpu,net\n1,2\n", "there is no column 'proto' to take as a category; it has cpu, net"),
        ("cpu,proto,proto=tcp\n1,tcp,2\n", "have the same name: rename a column"),
        (
            "cpu,proto\n" + "\n".join(f"{i},w{i}" for i in range(65)),
            "more than 64 words, too many for one-hot: declare it as 'proto:frequency'",
        ),
    ],
)
def test_what_is_no_category_is_refused_with_what_to_do(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read_table(written(tmp_path, text), columns=DECLARED)
    assert said in caught.value.message


def test_too_many_words_for_shares_say_what_else_helps(tmp_path: Path) -> None:
    path = written(tmp_path, "proto\n" + "\n".join(f"w{i}" for i in range(1001)))
    columns = Columns(categories=(DeclaredCategory("proto", "frequency"),))
    with pytest.raises(DataError, match="replace rare words by one such as other"):
        read_table(path, columns=columns)


def test_a_column_of_numbers_is_no_category(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"cpu": [1.0, 2.0], "proto": [6, 17]}).to_parquet(path)
    with pytest.raises(DataError, match="row 1, column 'proto': 6 is no text, as a category is"):
        read_table(path, columns=DECLARED)


def test_a_category_has_no_other_role(tmp_path: Path) -> None:
    path = written(tmp_path, "cpu,proto\n1,tcp\n")
    with pytest.raises(DataError, match="declared a category and has another role"):
        read_table(path, columns=replace(DECLARED, entity="proto"))


def test_arrays_have_no_categories(tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", train=np.ones((3, 2)))
    with pytest.raises(DataError, match="numbers alone, no categories"):
        read_table(tmp_path / "rows.npz", columns=DECLARED)
