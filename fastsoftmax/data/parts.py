"""Rows in parts, of which two at most are in memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fastsoftmax.data import caching, pieces
from fastsoftmax.data.ahead import each
from fastsoftmax.data.pieces import Taken, read


class Parts:
    """Rows in several pieces, one after another: data that are larger than memory, or come in files.

    `SoftmaxRegression` takes it in place of X and y, and reads the parts once for each pass.

    Parameters
    ----------
    parts : iterable, or callable that returns one
        Each is (X, y), (X, y, weight), X alone for predictions, or a function without arguments that returns one of
        these. X is dense or scipy.sparse, of any dtype that the functions read, or has a shape and slices, as arrays
        of zarr and h5py do. Functions are called anew for each pass, and must return the same rows.

    Raises
    ------
    TypeError
        If `parts` is a generator, which can be read but once.

    See Also
    --------
    Parts.from_npy, Parts.from_slices, Parts.from_parquet, Parts.from_feather, Parts.from_csv, Parts.from_arrow,
    Parts.cached

    Notes
    -----
    While a pass computes with one part, a thread reads the next. Sums are added in the order of the parts: the same
    parts give the same bytes on any number of threads, however fast they are read. Labels and weights of all rows are
    kept in memory; of X two parts at most, and a sample of the rows.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((3, 100, 4))
    >>> y = X[:, :, 0] > 0
    >>> parts = fs.Parts([(X[0], y[0]), (X[1], y[1]), lambda: (X[2], y[2])])
    >>> model = fs.SoftmaxRegression().fit(parts)
    >>> model.score(parts) > 0.95
    True
    """

    def __init__(self, parts: Iterable[Any] | Callable[[], Iterable[Any]]) -> None:
        self._source = pieces.listed(parts)
        self._check_any()

    @classmethod
    def of(cls, source: Any) -> "Parts":
        """Of pieces, or a stream of them, that are made already.

        Parameters
        ----------
        source : list of Piece, or Stream

        Returns
        -------
        Parts

        Raises
        ------
        ValueError
            If there is none.
        """
        self = object.__new__(cls)
        self._source = source
        self._check_any()
        return self

    def _check_any(self) -> None:
        if not isinstance(self._source, pieces.Stream) and not len(self._source):
            raise ValueError("Parts needs at least one part, got none")

    @classmethod
    def from_arrays(cls, arrays: Iterable[Any]) -> "Parts":
        """Of a list of (X, y), (X, y, weight) or X.

        Parameters
        ----------
        arrays : iterable of tuple

        Returns
        -------
        Parts

        Raises
        ------
        TypeError
            If `arrays` is a generator, which can be read but once.
        ValueError
            If there is none.
        """
        return cls(arrays)

    @classmethod
    def from_npy(cls, X: Any, y: Any = None, weight: Any = None, *, dtype: str | None = None) -> "Parts":
        """Of .npy files, which are mapped, not copied.

        Parameters
        ----------
        X : path or list of path
            A folder, whose .npy files are taken in natural order (part2 before part10), or files in their order.
        y : path, list of path or array-like of shape (n,), optional
            A folder, a file for each of X, one for all rows, or the labels of all rows.
        weight : path, list of path or array-like of shape (n,), optional
        dtype : {"bfloat16"}, optional
            For files of uint16, or of 2 bytes as ml_dtypes writes them, that hold bfloat16.

        Returns
        -------
        Parts

        Raises
        ------
        FileNotFoundError
            If there is no such file or folder.
        PartError
            If a file is damaged; the message names it.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> import fastsoftmax as fs
        >>> folder = tempfile.mkdtemp()
        >>> for i in range(3):
        ...     np.save(f"{folder}/part{i}.npy", np.eye(4, dtype=np.float16))
        >>> parts = fs.Parts.from_npy(folder, y=np.arange(12) % 4)
        >>> fs.SoftmaxRegression(C=100).fit(parts).predict(np.eye(4)).tolist()
        [0, 1, 2, 3]
        """
        return cls.of(pieces.npy_pieces(X, y, weight, dtype))

    @classmethod
    def from_slices(cls, X: Any, y: Any = None, weight: Any = None, *, rows: int | None = None) -> "Parts":
        """Of anything with slices: arrays of zarr or h5py, memory-mapped arrays, LightGBM's sequences.

        Parameters
        ----------
        X : object of shape (n, m), or of length n
            `X[start:stop]` are rows.
        y, weight : array-like of shape (n,), optional
        rows : int, optional
            Of a part; by default its `batch_size`, where it has one, or as many as fill 64 MB.

        Returns
        -------
        Parts

        Raises
        ------
        TypeError
            If X has no shape or length, or no slices.
        ValueError
            If y or weight is of another length, X has no rows, or `rows` is less than 1.

        Examples
        --------
        >>> import numpy as np
        >>> import fastsoftmax as fs
        >>> len(fs.Parts.from_slices(np.ones((10, 2)), np.arange(10) % 2, rows=4))
        3
        """
        return cls.of(pieces.slices(X, y, weight, rows))

    @classmethod
    def from_parquet(
        cls, paths: Any, *, features: Any = None, label: str | None = None, weight: str | None = None
    ) -> "Parts":
        """Of Parquet files, read with pyarrow: a part is a file, or of a large file some of its row groups.

        Each pass of a fit decodes them anew, which takes longer than what is computed: see `cached`.

        Parameters
        ----------
        paths : path or list of path
            A folder, whose .parquet files are taken in natural order, or files in their order.
        features : str or list of str, optional
            Columns of numbers, or one column of lists of numbers (lists, lists of fixed size, tensors); by default
            all but `label` and `weight`.
        label, weight : str, optional
            Columns.

        Returns
        -------
        Parts

        Raises
        ------
        ImportError
            Without pyarrow: `pip install 'fastsoftmax[arrow]'`.
        PartError
            If a file is damaged, or a column is not there, has nulls, or holds something else than numbers.
        """
        from fastsoftmax.data import tables

        return cls.of(tables.parquet_pieces(paths, features, label, weight))

    @classmethod
    def from_arrow(
        cls, source: Any, *, features: Any = None, label: str | None = None, weight: str | None = None
    ) -> "Parts":
        """Of a pyarrow dataset or table, or of a function that returns a fresh reader of record batches.

        Parameters
        ----------
        source : pyarrow.dataset.Dataset, pyarrow.Table or callable
            A dataset's files are taken in its order.
        features, label, weight
            As for `from_parquet`.

        Returns
        -------
        Parts

        Raises
        ------
        TypeError
            If `source` is a reader, which can be read but once.
        """
        from fastsoftmax.data import tables

        return cls.of(tables.arrow_pieces(source, features, label, weight))

    @classmethod
    def from_feather(
        cls, paths: Any, *, features: Any = None, label: str | None = None, weight: str | None = None
    ) -> "Parts":
        """Of Feather files (Arrow's IPC files), read with pyarrow: a part is a file.

        Parameters
        ----------
        paths : path or list of path
            A folder, whose .feather files are taken in natural order, or files in their order.
        features, label, weight
            As for `from_parquet`.

        Returns
        -------
        Parts

        Raises
        ------
        ImportError
            Without pyarrow: `pip install 'fastsoftmax[arrow]'`.
        PartError
            If a file is damaged, or a column is not there, has nulls, or holds something else than numbers.
        """
        from fastsoftmax.data import tables

        return cls.of(tables.feather_pieces(paths, features, label, weight))

    @classmethod
    def from_csv(
        cls,
        paths: Any,
        *,
        features: Any = None,
        label: str | None = None,
        weight: str | None = None,
        delimiter: str = ",",
        text: Sequence[str] = (),
    ) -> "Parts":
        """Of text files with a line of names, read with pyarrow in pieces of 16 MB; .gz files too.

        Features are read as float64, the label as what the first piece of the first file holds. Each pass of a fit
        reads the text anew: see `cached`.

        Parameters
        ----------
        paths : path or list of path
            A folder, whose .csv files are taken in natural order, or files in their order, with the same columns.
        features, label, weight
            As for `from_parquet`, but that lists are not known to text.
        delimiter : str, default ","
        text : sequence of str, default ()
            Columns that are text, whatever they look like, as a label "007" may be.

        Returns
        -------
        Parts

        Raises
        ------
        ImportError
            Without pyarrow: `pip install 'fastsoftmax[arrow]'`.
        PartError
            If a file is damaged, or a column is not there, has empty fields, or holds something else than numbers.
        """
        from fastsoftmax.data import tables

        return cls.of(tables.csv_pieces(paths, features, label, weight, delimiter, text))

    def cached(self, folder: str | os.PathLike[str] | None = None) -> "Parts":
        """The same parts, which are read once: X goes to .npy files, which are mapped from then on.

        For parts that are slow to read, as Parquet files are: a fit reads all of them once for each of its passes.

        Parameters
        ----------
        folder : path-like, optional
            In which a folder for the files is made, by default the system's for temporary files. It takes as much
            space as X, and is removed with the object that is returned.

        Returns
        -------
        Parts

        Raises
        ------
        FileNotFoundError
            If there is no such folder.

        Examples
        --------
        >>> import numpy as np
        >>> import fastsoftmax as fs
        >>> slow = fs.Parts([lambda: (np.eye(3), np.arange(3))] * 4)
        >>> fs.SoftmaxRegression(C=100).fit(slow.cached()).predict(np.eye(3)).tolist()
        [0, 1, 2]
        """
        return Parts.of(caching.cached(self, folder))

    def __len__(self) -> int:
        if isinstance(self._source, pieces.Stream):
            raise TypeError("the number of parts of a stream is not known before it is read")
        return len(self._source)

    def __add__(self, other: "Parts") -> "Parts":
        """These parts, and then those of another."""
        if not isinstance(other, Parts):
            return NotImplemented
        sources = self._source, other._source
        if any(isinstance(source, pieces.Stream) for source in sources):
            return Parts.of(pieces.Chain(sources))
        return Parts.of([*self, *other])

    def __repr__(self) -> str:
        if isinstance(self._source, caching.CachedStream):
            return f"Parts(cached in {self._source.folder})"
        if isinstance(self._source, pieces.Stream):
            return "Parts(a stream)"
        first, last = self._source[0].name, self._source[-1].name
        return f"Parts({len(self)}: {first})" if len(self) == 1 else f"Parts({len(self)}: {first} to {last})"

    def __iter__(self) -> Iterator[pieces.Piece]:
        """Pieces, of a stream made anew."""
        return iter(self._source)

    def listed(self) -> Sequence[pieces.Piece]:
        """Pieces that can be read in any order.

        Returns
        -------
        list of Piece

        Raises
        ------
        TypeError
            If there is but the order in which they come.
        """
        if not self.ordered_freely:
            raise TypeError(
                "these parts come one after another, and cannot be read in another order: give a list of parts, or "
                "cache all of them, as by parts.cached() or (one + other).cached(), which writes X to files"
            )
        return list(self._source)

    @property
    def ordered_freely(self) -> bool:
        """Whether there is more than the order in which they come."""
        return getattr(self._source, "found", None) is not None or not isinstance(self._source, pieces.Stream)

    def each_read(self, visit: Callable[[str, Taken], Any], targets: bool = True) -> None:
        """Calls `visit` with the name of each part and what it says, in order, while the next one is read.

        Parameters
        ----------
        visit : callable
        targets : bool, default True
            Whether labels and weights are read too.

        Raises
        ------
        PartError
            If a part cannot be read.
        """

        def all_read() -> Iterator[tuple[str, Taken]]:
            for piece in self:
                yield piece.name, read(piece, targets)

        each(all_read(), lambda found: visit(*found))
