import numpy as np
import pytest
import torch
from golden import golden_cases

from i2icli.metrics.segmentation import NAMES, confusion_matrix, score_tally, tally_labels
from i2icli.pictures.label_maps import LabelScheme, colours_to_ids


@pytest.mark.parametrize("case", golden_cases(r"segmentation_scores"))
def test_label_maps_get_the_recorded_scores(case):
    scheme = LabelScheme(case.options["classes"], case.options["ignore"])
    truth, predicted = (case.tensors[name].numpy().astype(np.int64) for name in ("gt", "pred"))
    case.close(torch.from_numpy(confusion_matrix(truth, predicted, scheme.classes)), "confusion")
    compared = 0
    for convention in ("released", "standard"):
        tally = tally_labels(truth, predicted, scheme, convention=convention)
        scores = score_tally(tally, convention)
        for name in NAMES:
            recorded = f"{convention}.{name.replace('accuracy', 'acc')}"
            case.close(torch.tensor(getattr(scores, name), dtype=torch.float64), recorded)
            compared += 1
    assert compared == sum("." in name for name in case.tensors)


@pytest.mark.parametrize("case", golden_cases(r"segmentation_scores"))
def test_colours_become_the_recorded_ids_in_either_order(case):
    palette, pictures = case.tensors["palette"].numpy(), case.tensors["colour_image"].numpy()
    scheme = LabelScheme(case.options["classes"], case.options["ignore"], palette)
    for name, colours in (("rgb", pictures), ("released_bgr", pictures[..., ::-1])):
        ids = np.stack([colours_to_ids(one, scheme) for one in colours])
        assert torch.equal(torch.from_numpy(ids), case.tensors[f"colour_ids_{name}"].long()), name
