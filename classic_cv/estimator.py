"""What every extractor and head shares: scikit-learn's parameter protocol, without importing scikit-learn.

Predicting must not import scikit-learn (1 s and 80 MB), yet every estimator has to work in its
``Pipeline``, ``FeatureUnion``, ``GridSearchCV`` and ``clone``. Those ask only for the methods below;
``__sklearn_tags__`` is called by scikit-learn alone, so its import there costs nothing elsewhere.

An estimator's ``__init__`` signature is the one declaration of its parameters: names, types, ranges
(``Annotated[int, msgspec.Meta(ge=1)]``), choices (``Literal``) and defaults. Recipes are validated
against the same declaration.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from classic_cv.errors import NotFittedError, ParameterError
from classic_cv.float16 import from_float16, rounded, to_float16

Parameter = tuple[str, Any, Any]
"""(name, type, default) of an ``__init__`` parameter."""


@functools.cache
def _signature(cls: Any) -> tuple[Parameter, ...]:
    hints = typing.get_type_hints(cls.__init__, include_extras=True)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return tuple((p.name, hints[p.name], p.default) for p in parameters)


@functools.cache
def _struct(cls: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        cls.__name__, _signature(cls), frozen=True, kw_only=True, forbid_unknown_fields=True
    )


def signature_of(cls: type[Estimator]) -> tuple[Parameter, ...]:
    """(name, type, default) of each ``__init__`` parameter of ``cls``, in order."""
    key: Any = cls
    return _signature(key)


def params_struct(cls: type[Estimator]) -> type[msgspec.Struct]:
    """A frozen struct of the parameters of ``cls``; decoding into it rejects unknown keys and bad values."""
    key: Any = cls
    return _struct(key)


def _plain(value: Any) -> Any:
    """NumPy scalars and arrays as Python numbers and lists, structs as dicts: what the validator looks into."""
    if isinstance(value, msgspec.Struct):
        # A struct as it is would pass unseen: msgspec trusts the fields of one that is there already.
        return msgspec.to_builtins(value, enc_hook=_plain)
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else value


def from_plain(cls: type[Estimator], params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of ``cls`` with dicts, as recipes hold them, turned into the structs that are declared.

    Raises:
        msgspec.ValidationError: a dict is not what is declared.
    """
    kinds = {name: kind for name, kind, _ in signature_of(cls)}
    return {
        name: msgspec.convert(value, kinds[name]) if isinstance(value, Mapping) else value
        for name, value in params.items()
    }


def _exponent(name: str) -> str:
    """``coef_exponent_`` for ``coef_``."""
    return f"{name}exponent_"


class Estimator:
    """scikit-learn's parameter protocol: ``__init__`` only stores, checks happen in ``fit``."""

    learned: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that ``fit`` learns and a model file keeps."""

    large: ClassVar[tuple[str, ...]] = ()
    """Those of them that ``round_to_float16`` rounds: float32 arrays that make up most of a model file."""

    _in_float16 = False

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name, as scikit-learn's ``clone`` and searches ask for them."""
        return {name: getattr(self, name) for name, _, _ in signature_of(type(self))}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises:
            ParameterError: a name that is not a parameter.
        """
        allowed = [name for name, _, _ in signature_of(type(self))]
        for name, value in params.items():
            if name not in allowed:
                raise ParameterError(
                    f"{type(self).__name__} has no parameter {name!r}; it has: {', '.join(allowed)}"
                )
            setattr(self, name, value)
        return self

    def check_params(self) -> None:
        """Check every parameter against the types and ranges declared in ``__init__``.

        Raises:
            ParameterError: names the class, the parameter, the value and what is allowed.
        """
        for name, kind, _ in signature_of(type(self)):
            value = getattr(self, name)
            try:
                checked = msgspec.convert(_plain(value), kind)
                if isinstance(checked, msgspec.Struct) and type(value) is not type(checked):
                    raise msgspec.ValidationError(
                        f"expected `{type(checked).__name__}`, got `{type(value).__name__}`"
                    )
            except msgspec.ValidationError as error:
                shown = value if isinstance(value, msgspec.Struct) else _plain(value)
                raise ParameterError(
                    f"{type(self).__name__}({name}={shown!r}): {str(error)[:1].lower()}{str(error)[1:]}"
                ) from None

    def check_fitted(self) -> None:
        """Raise ``NotFittedError`` unless every learned attribute is there."""
        missing = [name for name in self.learned if not hasattr(self, name)]
        if missing:
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit first")

    def round_to_float16(self) -> Self:
        """Round the large learned arrays, which stay float32, to values that ``state`` keeps in 16 bits."""
        self.check_fitted()
        for name in self.large:
            setattr(self, name, rounded(getattr(self, name)))
        self._in_float16 = True
        return self

    def state(self) -> dict[str, NDArray[Any]]:
        """The learned attributes as arrays, by name: what a model file keeps besides the parameters.

        A large one that ``round_to_float16`` has rounded is float16 ``name`` and int16 ``nameexponent_``.
        """
        self.check_fitted()
        state: dict[str, NDArray[Any]] = {}
        for name in self.learned:
            array = np.asarray(getattr(self, name))
            state |= self._halves(name, array) or {name: array}
        return state

    def _halves(self, name: str, array: NDArray[Any]) -> dict[str, NDArray[Any]] | None:
        """A rounded array in 16 bits; None for others, and where it was changed since and that would lose something."""
        if not self._in_float16 or name not in self.large:
            return None
        values, exponents = to_float16(array)
        exact = np.array_equal(from_float16(values, exponents), array, equal_nan=True)
        return {name: values, _exponent(name): exponents} if exact else None

    def load_state(self, state: dict[str, NDArray[Any]]) -> Self:
        """Set the learned attributes from what ``state`` returned; a 0-d integer becomes an int."""
        self._in_float16 = any(state[name].dtype == np.float16 for name in self.large)
        for name in self.learned:
            array = state[name]
            if array.dtype == np.float16:
                array = from_float16(array, state[_exponent(name)])
            # Only integers: a 0-d float32 as a Python float would come back as float64.
            number = array.ndim == 0 and array.dtype.kind == "i"
            setattr(self, name, array.item() if number else array)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return all(hasattr(self, name) for name in self.learned)

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, _, default in signature_of(type(self))
            if getattr(self, name) is not default and getattr(self, name) != default
        ]
        return f"{type(self).__name__}({', '.join(changed)})"
