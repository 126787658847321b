import json
import os
import time

import numpy as np
import pytest

from polymodal.errors import DataError
from polymodal.features.inventory import list_stored, remove
from polymodal.features.keys import content_key
from polymodal.features.store import FeatureCollection

DAY_S = 86400


def put(store, identity, num, days_ago=0.0):
    collection = FeatureCollection(store, identity, 3, "float32")
    for number in range(num):
        collection.put(content_key(str(number)), np.ones((2, 3), dtype=np.float32))
    collection.close()
    then = time.time() - days_ago * DAY_S
    for path in (collection.folder / "used", *collection.folder.glob("*.data")):
        os.utime(path, (then, then))
    return collection.folder


def test_a_store_is_listed_the_one_used_last_first(tmp_path):
    put(tmp_path, "old", 4, days_ago=40)
    put(tmp_path, "new", 1, days_ago=2)
    new, old = list_stored(tmp_path)
    assert [stored.identity for stored in (new, old)] == ["new", "old"]
    assert (old.num_entries, old.dtype, old.is_readable) == (4, "float32", True)
    assert old.num_bytes >= 4 * (24 + 56)
    assert old.unused_s == pytest.approx(40 * DAY_S, abs=60)
    assert list_stored(tmp_path / "none") == []


def test_opening_features_marks_them_as_used(tmp_path):
    put(tmp_path, "old", 1, days_ago=40)
    FeatureCollection(tmp_path, "old", 3, "float32")
    assert list_stored(tmp_path)[0].unused_s < 60


def test_what_is_removed_is_gone_and_what_is_left_is_not(tmp_path):
    folder = put(tmp_path, "old", 2)
    put(tmp_path, "new", 1)
    reader = FeatureCollection(tmp_path, "old", 3, "float32")
    values = reader.get(content_key("0"))
    (tmp_path / ".removed-0000").mkdir()  # of a removal that was killed
    remove(next(stored for stored in list_stored(tmp_path) if stored.folder == folder))
    assert [stored.identity for stored in list_stored(tmp_path)] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        list_stored(tmp_path)[0].folder.name
    ]
    assert values.sum() == 6  # whoever reads goes on reading
    assert FeatureCollection(tmp_path, "old", 3, "float32").get(content_key("0")) is None


def test_other_formats_and_damaged_folders_are_listed_as_such(tmp_path):
    folder = put(tmp_path, "old", 2)
    meta = folder / "meta.json"
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "format": 0}))
    (tmp_path / "v1-broken").mkdir()
    listed = {stored.identity: stored.is_readable for stored in list_stored(tmp_path)}
    assert listed == {"old": False, "?": False}


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DataError, match=r"thesis.tex(?s:.*)--store"):
        list_stored(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        list_stored(tmp_path / "thesis.tex")
