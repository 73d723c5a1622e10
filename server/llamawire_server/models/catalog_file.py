"""models.yaml as it is now, read again when it changed."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from llamawire_server.models.catalog import Catalog, DocumentError, load_catalog
from llamawire_server.models.model_files import FileSignature, file_signature, real_path

logger = logging.getLogger(__name__)

_Sources: TypeAlias = "tuple[FileSignature | None, Mapping[Path, FileSignature | None], Mapping[Path, Path]]"

_KEPT = "; what was right before stays in force"

# What a complaint is about: an entry's name (None: the file as a whole), and which of those it is about that.
_Place: TypeAlias = "tuple[str | None, int]"


class CatalogFile:
    """Follows models.yaml. Safe for use by many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._catalog = Catalog()
        self._sources: _Sources | None = None
        self._told: dict[_Place, str] = {}

    def current(self) -> Catalog:
        """What the file says now.

        In the place of an entry that is wrong stands the last one of its name that was right, for as long as the
        file has the name. While the file is wrong as a whole, all of its last entries stay.
        """
        with self._lock:
            if self._sources != self._look(self._catalog):
                self._reload()
            return self._catalog

    def _look(self, catalog: Catalog) -> _Sources:
        """All that the catalog depends on, as it is now."""
        templates = {path: file_signature(path) for path in catalog.templates}
        links = {path: real_path(path) for path in catalog.links}
        return file_signature(self._path), templates, links

    def _reload(self) -> None:
        # Looked at before it is read: a change in between is seen as one the next time.
        signature = file_signature(self._path)
        try:
            read = load_catalog(self._path)
        except DocumentError as error:
            self._catalog = replace(self._catalog, fault=error)
            self._sources = (signature, *self._look(self._catalog)[1:])
        else:
            self._catalog = read.after(self._catalog)
            self._sources = (signature, read.templates, read.links)
        self._tell()

    def _tell(self) -> None:
        """Log what is wrong where that is new, and what is right again."""
        catalog, wrong = self._catalog, dict[_Place, str]()
        counts: Counter[str] = Counter()
        for problem in catalog.problems:
            entry = catalog.entries.get(problem.name)
            is_kept = entry is not None and entry.line == problem.line
            wrong[problem.name, counts[problem.name]] = f"{problem.error}{_KEPT if is_kept else ''}"
            counts[problem.name] += 1
        if catalog.fault is not None:
            # Of single entries nothing new is known then: those that were wrong are so still.
            wrong[None, 0] = f"{catalog.fault}{_KEPT if catalog.entries else ''}"
        for place, message in wrong.items():
            if self._told.get(place) != message:
                logger.error("%s", message)
        for place in self._told.keys() - wrong.keys():
            logger.info("mended: %s", self._told[place])
        self._told = wrong
