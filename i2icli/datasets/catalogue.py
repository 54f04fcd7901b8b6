"""The data sets that `i2i data get` knows: where they are and what they hold.

Sizes, SHA-256 sums and counts of the CycleGAN sets are those that TensorFlow Datasets recorded
(`cycle_gan` 2.0.0) from the first home of the same files. What is not known is None; nothing here
is guessed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from i2icli.errors import ConfigError

# The authors' server moved; its certificate chain is at times broken, hence the second address.
# The sums make the unencrypted one safe: a set without a sum is never fetched over http.
_CYCLEGAN = "https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{name}.zip"
_CYCLEGAN_PLAIN = "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/{name}.zip"
_AFHQ = "https://www.dropbox.com/s/t9l9o3vsx2jai3z/afhq.zip?dl=1"


@dataclass(frozen=True)
class DataSet:
    """A registered data set."""

    name: str  # as given to `i2i data get`
    domains: str  # what A and B are, in words
    # pictures in trainA, trainB, testA, testB; None where not known
    counts: tuple[int | None, int | None, int | None, int | None] = (None, None, None, None)
    urls: tuple[str, ...] = ()  # tried in this order; none: the set must be got by hand
    size: int | None = None  # bytes of the archive; None where not known
    sha256: str | None = None  # of the archive; None where not known
    instructions: str = ""  # how to get the set by hand
    folders: Mapping[str, str] = field(default_factory=dict)  # parts in another layout


# Name, domains; pictures in trainA, trainB, testA, testB; bytes and SHA-256 of the archive.
_CYCLEGAN_SETS = (
    ("horse2zebra", "horses, zebras", (1067, 1334, 120, 140), 116_867_962,
     "a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1"),
    ("apple2orange", "apples, oranges", (995, 1019, 266, 248), 78_456_409,
     "845a191e9af8926408ea597001cd03a452e3300a1f44a79fe329b3d59f6e3eb8"),
    ("summer2winter_yosemite", "Yosemite in summer, in winter", (1231, 962, 309, 238), 132_640_856,
     "167fe1726807a9d22bd106b4a6c0bd7953b688af924ac1bf967439c4961e49f9"),
    ("monet2photo", "paintings by Monet, photographs", (1072, 6287, 121, 751), 305_231_073,
     "88f91b00fc228f97c9411fbf1880ec1d119c98f1722e4cfcfaa2fb35fac05b04"),
    ("cezanne2photo", "paintings by Cezanne, photographs", (525, 6287, 58, 751), 279_885_071,
     "3a6c10ca21f9485862f1cbd707744b9dc258954a04631271d23a3605eeb63cff"),
    ("ukiyoe2photo", "ukiyo-e prints, photographs", (562, 6287, 263, 751), 292_946_532,
     "02a2a2fb5ecf425ca1bf86aca7304377da64a2a1d3b86df54eb65e4068bf3b08"),
    ("vangogh2photo", "paintings by van Gogh, photographs", (400, 6287, 400, 751), 306_590_349,
     "362c3473e70be0944bda08d49d660eafdc2854df55d697835b8186d1d79caaff"),
    ("maps", "aerial photographs, maps", (1096, 1096, 1098, 1098), 1_476_754_427,
     "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e"),
    ("facades", "facades, their label maps", (400, 400, 106, 106), 35_135_868,
     "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0"),
    ("iphone2dslr_flower", "flowers by phone, by camera", (1812, 3325, 569, 480), 339_964_458,
     "8fcb5e374d631b107e1d961b8c4cd0a186aa2a4ff3e279923f4c426128de7113"),
)  # fmt: skip

_ALL = (
    *(
        DataSet(
            name,
            domains,
            counts,
            (_CYCLEGAN.format(name=name), _CYCLEGAN_PLAIN.format(name=name)),
            size,
            sha256,
        )
        for name, domains, counts, size, sha256 in _CYCLEGAN_SETS
    ),
    DataSet(
        "grumpifycat",
        "Russian Blue cats, Grumpy Cat",
        (88, 214, None, None),
        urls=(_CYCLEGAN.format(name="grumpifycat"),),
    ),
    DataSet(
        "cityscapes",
        "street photographs, their label maps",
        (2975, 2975, 500, 500),
        instructions=(
            "Its licence forbids passing it on. Register at https://www.cityscapes-dataset.com, "
            "get leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip, and unpack both. Put "
            "the photographs (*_leftImg8bit.png) and the colour label maps (*_gtFine_color.png) "
            "of `train` and `val`, each pair under one name and scaled to 256x256, as "
            "PAIRS/A/train, PAIRS/A/test, PAIRS/B/train and PAIRS/B/test; then: "
            "i2i data prepare --paired PAIRS --layout folders --out cityscapes. "
            "The papers translate labels to photographs: --set data.direction=b2a."
        ),
    ),
    DataSet(
        "cat2dog",
        "cats, dogs (AFHQ version 1)",
        (5153, 4739, 500, 500),
        instructions=(
            f"Get the AFHQ archive (version 1, under CC BY-NC 4.0) from {_AFHQ} with a browser, "
            "then: i2i data get cat2dog --from afhq.zip"
        ),
        folders={
            "trainA": "train/cat",
            "trainB": "train/dog",
            "testA": "val/cat",
            "testB": "val/dog",
        },
    ),
)
CATALOGUE: Mapping[str, DataSet] = {data_set.name: data_set for data_set in _ALL}


def find_data_set(name: str) -> DataSet:
    """Return the registered set of that name.

    Raises:
        ConfigError: no such name; the nearest is suggested.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = difflib.get_close_matches(name, CATALOGUE, n=1, cutoff=0.5)
    if name in ("afhq", "yosemite", "summer2winter"):
        close = ["cat2dog" if name == "afhq" else "summer2winter_yosemite"]
    hint = f"did you mean {close[0]}?" if close else "see i2i data get --list"
    meant = {name: close[0]} if close else None
    raise ConfigError(f"No data set is called {name!r}; {hint}", meant=meant)


def list_lines(catalogue: Mapping[str, DataSet]) -> list[str]:
    """Return a table of the registered data sets."""
    lines = [f"{'name':<24}{'trainA':>7}{'trainB':>7}{'testA':>6}{'testB':>6}{'MB':>7}  domains"]
    for data_set in catalogue.values():
        train_a, train_b, test_a, test_b = (
            "?" if count is None else str(count) for count in data_set.counts
        )
        size = "?" if data_set.size is None else f"{data_set.size / 1e6:.0f}"
        by_hand = "" if data_set.urls else " (by hand)"
        lines.append(
            f"{data_set.name:<24}{train_a:>7}{train_b:>7}{test_a:>6}{test_b:>6}{size:>7}  "
            f"{data_set.domains}{by_hand}"
        )
    return lines
