"""models.yaml as it is now, read again when it changed."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from llamawire_server.models.catalog import Catalog, CatalogError, load_catalog
from llamawire_server.models.model_files import FileSignature, file_signature

logger = logging.getLogger(__name__)


class CatalogFile:
    """Follows models.yaml. Safe for use by many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._catalog = Catalog()
        self._error: CatalogError | None = None
        self._signatures: tuple[FileSignature | None, ...] | None = None

    def current(self) -> tuple[Catalog, CatalogError | None]:
        """What the file says, and what is wrong with it.

        While something is wrong, the catalog is the last one that was right; an empty one if there was none.
        """
        with self._lock:
            if self._signatures != self._look():
                self._reload()
            return self._catalog, self._error

    def _look(self) -> tuple[FileSignature | None, ...]:
        return tuple(file_signature(path) for path in (self._path, *self._catalog.template_paths))

    def _reload(self) -> None:
        before = file_signature(self._path)
        try:
            self._catalog = load_catalog(self._path)
        except CatalogError as error:
            if str(error) != str(self._error):
                logger.error("%s", error)
            self._error = error
            self._signatures = None  # read again each time: what mends it may be another file that it names
            return
        self._error = None
        # Looked at before it was read: a change in between is seen as one the next time.
        self._signatures = (before, *self._look()[1:])
