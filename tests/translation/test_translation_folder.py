import errno
import threading

import numpy as np
import pytest
import torch
from echo import SMALL, Echo, count_in, noise
from PIL import Image

from i2icli.errors import ConfigError, I2IError
from i2icli.methods import Translation, configure_run
from i2icli.pictures import encode
from i2icli.pictures.images import read_picture
from i2icli.system.cores import usable_cores
from i2icli.system.messages import collect_messages
from i2icli.translation import folder as folder_module
from i2icli.translation import pipeline
from i2icli.translation.folder import FolderOptions, translate_jobs
from i2icli.translation.sources import find_sources
from i2icli.translation.targets import plan_outputs
from i2icli.translation.translator import Translator
from i2icli.viz.grid import write_sheets


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(path, **options)


def jobs_for(folder, **options):
    return plan_outputs(find_sources(str(folder / "in")), folder / "out", **options).jobs


SIZES = [(1, 1), (3, 5), (7, 300), (16, 16), (17, 20), (19, 18), (17, 20), (40, 33), (20, 17)]


@pytest.mark.parametrize("batch_size", [None, 1, 8])
def test_every_picture_is_written_once_in_its_own_size(tmp_path, translator, batch_size):
    for number, size in enumerate(SIZES):
        save(tmp_path / f"in/{number % 3}/{number}.png", noise(*size, seed=number))
    jobs = jobs_for(tmp_path)
    report = translate_jobs(translator, jobs, FolderOptions(batch_size=batch_size))
    assert (report.found, len(report.written), report.skipped) == (len(SIZES), len(SIZES), 0)
    assert report.failures == ()
    assert report.written == tuple(jobs)
    assert report.images_per_s > 0
    for job in jobs:
        assert np.array_equal(read_picture(job.target).pixels, read_picture(job.source).pixels)
    largest = max(shape[0] for shape in translator.method.seen)
    assert largest == 1  # on a CPU, whatever the batch


def test_a_method_on_a_gpu_would_see_batches_of_one_padded_size(tmp_path, translator, monkeypatch):
    taken = []

    def record(method, images, direction, **options):
        taken.append([(image.shape[-1], image.shape[-2]) for image in images])
        return [Translation(torch.zeros(1, 3, height, width)) for width, height in taken[-1]]

    monkeypatch.setattr(pipeline, "translate_images", record)
    for number, size in enumerate(SIZES):
        save(tmp_path / f"in/{number}.png", noise(*size))
    translate_jobs(translator, jobs_for(tmp_path), FolderOptions(batch_size=3))
    assert [(20, 17), (18, 19), (20, 17)] in taken
    assert sum(map(len, taken)) == len(SIZES)


def test_depth_alpha_and_grey_come_back_as_the_networks_give_them(tmp_path, translator):
    save(tmp_path / "in/alpha.png", noise(9, 9, 4))
    save(tmp_path / "in/deep.png", noise(9, 9, 1, bits=16))
    save(tmp_path / "in/grey.png", noise(9, 9, 1))
    Image.fromarray(noise(9, 9)).convert("P").save(tmp_path / "in/palette.png")
    Image.fromarray(noise(9, 9)).convert("CMYK").save(tmp_path / "in/press.jpg")
    jobs = jobs_for(tmp_path)
    report = translate_jobs(translator, jobs)
    assert report.failures == ()
    for job in jobs:
        source, written = read_picture(job.source), read_picture(job.target)
        if job.name != "deep.png":  # Pillow reads colour of 16 bits as 8
            assert np.array_equal(written.pixels, source.pixels)
        assert (written.alpha is None) == (source.alpha is None)
    alpha = read_picture(tmp_path / "out/alpha.png").alpha
    assert np.array_equal(alpha, noise(9, 9, 4)[..., 3])


def test_deep_grey_stays_deep_grey(tmp_path):
    method = Echo(channels_a=1, channels_b=1)
    translator = Translator(method, configure_run("cyclegan", SMALL), precision=torch.bfloat16)
    pixels = noise(30, 21, 1, bits=16)
    save(tmp_path / "in/scan.tif", pixels)
    translate_jobs(translator, jobs_for(tmp_path, format="keep"))
    written = read_picture(tmp_path / "out/scan.tif", channels=None)
    assert written.bits == 16
    assert np.array_equal(written.pixels, pixels)


def test_unreadable_pictures_are_named_and_the_rest_is_written(tmp_path, translator):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name, noise(5, 5))
    (tmp_path / "in/b.png").write_bytes((tmp_path / "in/b.png").read_bytes()[:60])
    (tmp_path / "in/d.png").symlink_to("gone.png")
    heard = []
    report = translate_jobs(
        translator, jobs_for(tmp_path), on_done=lambda job, error: heard.append((job.name, error))
    )
    assert [failure.path.name for failure in report.failures] == ["b.png", "d.png"]
    assert "does not exist" in report.failures[1].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "c.png"]
    assert sorted(name for name, _ in heard) == ["a.png", "b.png", "c.png", "d.png"]
    assert {name for name, error in heard if error} == {"b.png", "d.png"}


def test_a_picture_that_its_format_cannot_hold_fails_alone(tmp_path, translator):
    save(tmp_path / "in/long.png", noise(1, 17000))
    save(tmp_path / "in/short.png", noise(5, 5))
    jobs = jobs_for(tmp_path, format="webp")
    report = translate_jobs(translator, jobs)
    assert [failure.path.name for failure in report.failures] == ["long.png"]
    assert [job.name for job in report.written] == ["short.png"]


def test_existing_outputs_are_overwritten_or_on_request_left(tmp_path, translator):
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, noise(5, 5))
    save(tmp_path / "out/a.png", noise(2, 2))
    jobs = jobs_for(tmp_path)
    report = translate_jobs(translator, jobs, FolderOptions(skip_existing=True))
    assert (report.found, len(report.written), report.skipped) == (2, 1, 1)
    assert read_picture(tmp_path / "out/a.png").size == (2, 2)
    report = translate_jobs(translator, jobs)
    assert (len(report.written), report.skipped) == (2, 0)
    assert read_picture(tmp_path / "out/a.png").size == (5, 5)


def test_memory_that_runs_out_halves_the_batch_and_says_so(tmp_path, translator, monkeypatch):
    real, sizes, warnings = pipeline.translate_images, [], collect_messages()

    def hungry(method, images, direction, **options):
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(method, images, direction, **options)

    monkeypatch.setattr(pipeline, "translate_images", hungry)
    for number in range(16):
        save(tmp_path / f"in/{number:02d}.png", noise(16, 20, seed=number))
    jobs = jobs_for(tmp_path)
    options = FolderOptions(batch_size=8)
    report = translate_jobs(translator, jobs, options)
    assert sizes[:3] == [8, 4, 2]
    assert set(sizes[3:]) == {2}
    assert len(report.written) == 16
    assert warnings == [
        f"out of memory with {many} pictures of 20 x 16 at once: going on with {many // 2}"
        for many in (8, 4)
    ]
    for job in jobs:
        assert np.array_equal(read_picture(job.target).pixels, read_picture(job.source).pixels)


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_too_small_for_one_picture_is_an_error_that_names_it(
    tmp_path, translator, monkeypatch, fault
):
    def starve(*args, **kwargs):
        raise fault

    monkeypatch.setattr(pipeline, "translate_images", starve)
    save(tmp_path / "in/big.png", noise(16, 20))
    with pytest.raises(I2IError, match=r"cpu has too little memory to translate .*big\.png"):
        translate_jobs(translator, jobs_for(tmp_path))


def test_other_faults_of_a_method_are_not_hidden(tmp_path, translator, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(pipeline, "translate_images", fail)
    save(tmp_path / "in/a.png", noise(16, 20))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        translate_jobs(translator, jobs_for(tmp_path))


def test_a_full_disk_stops_with_one_sentence_and_no_half_files(tmp_path, translator, monkeypatch):
    real = encode.write_whole

    def fill(path, content, **options):
        if path.name > "03.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content, **options)

    monkeypatch.setattr(encode, "write_whole", fill)
    for number in range(40):
        save(tmp_path / f"in/{number:02d}.png", noise(5, 5))
    jobs = jobs_for(tmp_path)
    with pytest.raises(I2IError, match=r"No space left on device\. Make room, .*--skip-existing"):
        translate_jobs(translator, jobs)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["00.png", "01.png", "02.png", "03.png"]


def test_an_output_that_cannot_be_written_fails_alone(tmp_path, translator):
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, noise(5, 5))
    (tmp_path / "out/a.png").mkdir(parents=True)
    report = translate_jobs(translator, jobs_for(tmp_path))
    assert [failure.path.name for failure in report.failures] == ["a.png"]
    assert [job.name for job in report.written] == ["b.png"]


def test_an_interruption_ends_all_threads_and_leaves_whole_files(tmp_path, translator):
    for number in range(30):
        save(tmp_path / f"in/{number:02d}.png", noise(5, 5, seed=number))

    def interrupt(job, error):
        if job.name == "05.png":
            raise KeyboardInterrupt

    jobs = jobs_for(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        translate_jobs(translator, jobs, on_done=interrupt)
    assert not [t for t in threading.enumerate() if t.name.startswith(("read", "write"))]
    for path in (tmp_path / "out").iterdir():
        assert np.array_equal(
            read_picture(path).pixels, read_picture(tmp_path / "in" / path.name).pixels
        )


def test_reading_stays_a_bounded_number_of_pictures_ahead(tmp_path, translator, monkeypatch):
    read = []
    real = folder_module.read_picture

    def count(path, *, channels):
        read.append(path)
        return real(path, channels=channels)

    behind = []
    monkeypatch.setattr(folder_module, "read_picture", count)
    for number in range(120):
        save(tmp_path / f"in/{number:03d}.png", noise(2, 2))
    done = []

    def note(job, error):
        done.append(job)
        behind.append(len(read) - len(done))

    translate_jobs(translator, jobs_for(tmp_path), on_done=note)
    assert len(done) == 120
    assert max(behind) <= 8 * min(8, usable_cores()) + 8


def test_pictures_of_all_sizes_do_not_pile_up(tmp_path, translator, monkeypatch):
    monkeypatch.setattr(pipeline, "_AHEAD_PIXELS", 2000)
    for number in range(12):
        save(tmp_path / f"in/{number:02d}.png", noise(16 + 4 * number, 40))
    jobs = jobs_for(tmp_path)
    report = translate_jobs(translator, jobs, FolderOptions(batch_size=8))
    assert report.written == tuple(jobs)


def test_a_direction_that_is_not_offered_is_refused_before_anything_is_read(tmp_path, translator):
    with pytest.raises(ConfigError, match="'x2y'"):
        translate_jobs(translator, [], FolderOptions(direction="x2y"))


def test_contact_sheets_show_each_source_beside_its_translation(tmp_path, translator):
    for number in range(9):
        save(tmp_path / f"in/{number}.png", noise(20, 24, seed=number))
    save(tmp_path / "in/9.png", noise(30, 1100))
    plan = plan_outputs(find_sources(str(tmp_path / "in")), tmp_path / "out", with_grids=True)
    translate_jobs(translator, plan.jobs)
    written = write_sheets(plan.grids, plan.jobs, direction="a2b")
    assert [path.name for path in written] == ["grid-001.png", "grid-002.png"]
    first, second = (np.asarray(Image.open(path)) for path in written)
    for number in range(8):
        assert count_in(first, noise(20, 24, seed=number)) == 2
    assert count_in(second, noise(20, 24, seed=8)) == 2
    assert second.shape[1] < 1200  # the wide picture is scaled down


def test_files_are_read_and_written_while_the_networks_compute(tmp_path, translator, monkeypatch):
    read_ahead, written = threading.Event(), threading.Event()
    real_read, real_write = folder_module.read_picture, folder_module.write_picture
    overlaps = []

    def read(path, *, channels):
        picture = real_read(path, channels=channels)
        if path.name == "1.png":
            read_ahead.set()
        return picture

    def write(path, pixels, **options):
        real_write(path, pixels, **options)
        written.set()

    def compute(method, images, direction, **options):
        overlaps.append((written if overlaps else read_ahead).wait(timeout=300))
        return [Translation(torch.zeros(1, 3, 16, 16)) for _ in images]

    monkeypatch.setattr(folder_module, "read_picture", read)
    monkeypatch.setattr(folder_module, "write_picture", write)
    monkeypatch.setattr(pipeline, "translate_images", compute)
    for number in range(2):
        save(tmp_path / f"in/{number}.png", noise(16, 16))
    translate_jobs(translator, jobs_for(tmp_path))
    assert overlaps == [True, True]
