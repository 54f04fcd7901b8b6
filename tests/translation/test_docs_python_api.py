import re
from pathlib import Path

import pytest
from echo import noise, save_fresh
from PIL import Image
from run_kit import save_untrained

from i2icli.methods import configure_run

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Return a folder with the files that the page speaks of."""
    save_fresh(tmp_path / "runs/qs-attn-global-001/checkpoints/last.pt", "cyclegan")
    save_fresh(tmp_path / "runs/cyclegan-001/checkpoints/last.pt", "cyclegan")
    for preset in ("munit", "attention-guided"):
        small = ("method.generator.width=4", "method.discriminator.width=4")
        config = configure_run(preset, small)
        place = tmp_path / "runs" / f"{preset}-001" / "checkpoints" / "last.pt"
        save_untrained(place, config)
    (tmp_path / "horses").mkdir()
    for name in ("horse.jpg", "horses/a.jpg", "horses/b.jpg"):
        Image.fromarray(noise(18, 20)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_of_the_python_page_run_as_they_stand(workplace, capsys):
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 5
    names = {}
    for example in examples:
        exec(example, names)
    assert (workplace / "zebra.png").is_file()
    assert [image.size for image in names["horses"]] == [(20, 18)] * 2
    assert sorted(path.name for path in (workplace / "zebras").iterdir()) == ["a.webp", "b.webp"]
    assert len({image.tobytes() for image in (*names["several"], names["alike"])}) == 4
    assert capsys.readouterr().out == "(18, 20, 3) (18, 20)\n2 []\n"
