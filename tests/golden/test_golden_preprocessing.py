import pytest
import torch
from golden import FOLDER, golden_cases

from i2icli.config.sections import DataConfig
from i2icli.data.transforms import CropChoice, make_crop, plan_crop
from i2icli.pictures.images import read_picture

WAYS = {
    "resize": "resize",
    "scale_width": "scale-width",
    "none": "none",
    "resize_and_crop": "resize-and-crop",
    "scale_width_and_crop": "scale-width-and-crop",
    "crop": "crop",
    "resize_half_height": "resize",
}


def configure(case, way):
    options = case.options
    half = options["load_size"] // 2 if way.endswith("half_height") else None
    return DataConfig(
        preprocess=WAYS[way],
        resize=options["load_size"],
        resize_height=half,
        crop=options["crop_size"],
        interpolation=options["method"],
    )


def choice_of(record):
    return CropChoice(
        x=record.get("crop_x", 0), y=record.get("crop_y", 0), flip=record.get("flip", False)
    )


@pytest.mark.parametrize("case", golden_cases(r"preprocessing"))
def test_pictures_become_the_recorded_crops(case):
    images = case.options["images"]
    files = {name.split("/")[-1].split(".")[0]: FOLDER / name for name in images}
    records = case.entry["tensors"]
    compared = 0
    for name, record in records.items():
        number, way = name.split(".")
        pixels = read_picture(files[number]).pixels
        if way == "png":
            assert torch.equal(torch.from_numpy(pixels), case.tensors[name]), name
            continue
        plan = plan_crop(configure(case, way))
        crop = make_crop(pixels, plan, choice_of(record))
        torch.testing.assert_close(
            crop,
            case.tensors[name],
            rtol=0.0,
            atol=case.tolerance["atol"],
            msg=lambda difference, name=name: f"{name}: {difference}",
        )
        compared += 1
    assert compared == len(records) - len(images)
