"""`i2i translate` of tar shards to tar shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2icli.cli.progress import MESSAGES, counting

if TYPE_CHECKING:
    from i2icli.system.shares import Process
    from i2icli.translation.tar_shards import ShardOptions
    from i2icli.translation.translator import Translator


def translate_to_shards(
    translator: Translator,
    shards: Sequence[Path],
    out: Path,
    options: ShardOptions,
    process: Process,
) -> dict[str, Any]:
    """Translate this process's share of the shards; return the result in plain types."""
    from i2icli.system.manifest import Manifest
    from i2icli.translation.tar_shards import translate_shards

    own = process.share(shards)
    manifest = Manifest(out, key="shard", rank=process.rank, count=process.count)
    with counting("translating shards", len(own)) as advance:
        report = translate_shards(
            translator,
            own,
            out,
            options,
            manifest,
            on_shard=lambda _shard: advance(),
            on_failure=lambda name, error: MESSAGES.show(f"failed: {_told(name, error)}"),
            executor=process.executor,
        )
    manifest.merge()
    return {
        "found": report.written + report.skipped + len(report.failures),
        "written": report.written,
        "skipped": report.skipped,
        "failed": len(report.failures),
        "failures": [{"path": f.name, "error": f.error} for f in report.failures],
        "shards": report.shards,
        "skipped_shards": report.skipped_shards,
        "manifest": str(manifest.path),
        "seconds": round(report.seconds, 3),
        "images_per_s": round(report.images_per_s, 3),
    }


def _told(name: str, error: str) -> str:
    return error if name in error else f"{name}: {error}"
