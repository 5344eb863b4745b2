"""Map each label of the data to a class of the model.

It is decided once, over all data sets together: a class that one of them lacks must not move the
others. A wrong guess would be a false verdict, so labels are only mapped if the mapping is
unambiguous; otherwise `spec.data.classes` is required.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fulcrum_components.data.label_values import Array, Observed, Seen
from fulcrum_components.sources.naming import listed, suggestion
from fulcrum_pipelines.errors import UserError
from fulcrum_pipelines.evidence import ClassLabel, LabelMapping

WHERE = "spec.data.classes"
SHOWN = 6
WHOLE = re.compile(r"[-+]?[0-9]+(\.0*)?")
DIGITS = re.compile(r"[0-9]+")
BOOLEANS = {"false": 0, "true": 1}
Places = dict[str, tuple[str, int | None]]
"""Labels, each with the data set and the example of its first use; folders have no example."""

NAME_THEM = f"name them in {WHERE}, in the order of the model's outputs"

HOW = {
    "positions": "labels are the positions of the model's outputs",
    "names": f"labels are names in {WHERE}",
    "order": "labels are mapped to the model's outputs in ascending order",
    "folders": "names of folders are mapped to the model's outputs in order",
}


@dataclass(frozen=True)
class Labels:
    """The classes of labels.

    Attributes:
        names: Names of the classes in the order of the model's outputs; None if only positions are
            known.
        values: Class of each label that files or functions hold, by its text.
        folders: Class of each folder of images, by its name.
        record: The same for evidence, with how often each label occurs.
        notes: What a person should check.
    """

    names: tuple[str, ...] | None
    values: Mapping[str, int]
    folders: Mapping[str, int]
    record: LabelMapping
    notes: tuple[str, ...] = ()

    def classes_of(self, labels: Array, *, folders: bool) -> Array:
        """Return the classes (n,) int64 of plain `labels` (n,), all of which were seen before."""
        codes = self.folders if folders else self.values
        distinct, positions = np.unique(labels, return_inverse=True)
        table = np.array([codes[str(label)] for label in distinct], np.int64)
        return table[positions]


def class_labels(classes: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """Return the names of `count` classes: those declared, or the labels themselves.

    Raises:
        UserError: If the declared names are of another number, or not all different.
    """
    if classes is None:
        return tuple(map(str, range(count)))
    if len(classes) != count or len(set(classes)) != count:
        message = (
            f"has {len(classes)} names, {len(set(classes))} of them different; "
            f"the model distinguishes {count} classes, so {count} different names are needed"
        )
        raise UserError(message, where=WHERE)
    return tuple(classes)


def find_labels(
    found: Mapping[str, Observed], classes: Sequence[str] | None, count: int | None
) -> Labels:
    """Decide the class of each label.

    Args:
        found: The labels of each data set that has some.
        classes: Declared names of the classes, in the order of the model's outputs.
        count: Number of classes that the model distinguishes, if its signature says so.

    Raises:
        UserError: A label cannot be a class of the model, or which one it means is not certain.
    """
    names = None if classes is None else class_labels(classes, count or len(classes))
    values = _merged(observed for observed in found.values() if not observed.folders)
    folders = _merged(observed for observed in found.values() if observed.folders)
    how, codes = _codes(values, names, count)
    folder_how, folder_codes = _folder_codes(folders, names, count, found)
    if names is None and folders:
        names = _names_of(folder_codes)
    elif names is None and how == "order":
        names = _names_of(codes)
    most = max([count or 0, *(code + 1 for code in codes.values())])
    shown = names or class_labels(None, most)
    record = _record(found, codes, folder_codes, shown, folder_how if folders else how)
    known = shown if names or count else ()
    notes = (
        *_notes(how, codes),
        *_notes(folder_how, folder_codes),
        *_absent(found, codes, folder_codes, known),
    )
    return Labels(names, codes, folder_codes, record, notes)


def _names_of(codes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the first label of each class."""
    first: dict[int, str] = {}
    for label, code in codes.items():
        first.setdefault(code, label)
    return tuple(first[code] for code in sorted(first))


def from_record(record: LabelMapping, classes: Sequence[str] | None, count: int | None) -> Labels:
    """Return what `find_labels` decided from the labels that `record` holds."""
    found: dict[str, Observed] = {}
    for label in record.labels:
        for data, examples in label.examples.items():
            seen = found.setdefault(data, Observed(f"spec.data.{data}", label.folder, {}))
            seen.labels[label.label] = Seen(0, examples)
    return find_labels(found, classes, count)


def _merged(parts: Iterable[Observed]) -> Places:
    """Return each label with the place of its first use."""
    places: Places = {}
    for part in parts:
        for label, seen in part.labels.items():
            places.setdefault(label, (part.where, None if part.folders else seen.first))
    return places


def number_of(label: str) -> int | None:
    """Return the whole number or boolean that the text of a label is, or None."""
    if WHOLE.fullmatch(label):
        return int(label.partition(".")[0])
    return BOOLEANS.get(label.casefold())


def _named(label: str, names: Sequence[str]) -> int | None:
    """Return the position of `label` among `names`, as text or as the same number."""
    if label in names:
        return names.index(label)
    number = number_of(label)
    equal = [i for i, name in enumerate(names) if number is not None and number_of(name) == number]
    return equal[0] if len(equal) == 1 else None


def _codes(
    places: Places, names: Sequence[str] | None, count: int | None
) -> tuple[str, dict[str, int]]:
    """Return how labels are mapped, and the class of each."""
    numbers = {label: number_of(label) for label in places}
    whole = {label: number for label, number in numbers.items() if number is not None}
    most = count if names is None else len(names)
    in_range = len(whole) == len(places) and all(
        number >= 0 and (most is None or number < most) for number in whole.values()
    )
    if names is not None:
        named = {label: _named(label, names) for label in places}
        known = {label: code for label, code in named.items() if code is not None}
        if len(known) == len(places) and not (in_range and known == whole):
            if in_range and all(map(DIGITS.fullmatch, places)):
                raise UserError(_two_readings(known, whole, names), where=WHERE)
            return "names", known
    if in_range:
        return "positions", whole
    if len(whole) == len(places) and most is not None and _is_shifted(set(whole.values()), most):
        ordered = sorted(set(whole.values()))
        return "order", {label: ordered.index(number) for label, number in whole.items()}
    if names is None:
        raise _no_positions(places, whole, count)
    raise _no_names(places, names, whole)


def _is_shifted(numbers: set[int], count: int) -> bool:
    """Return whether `numbers` can only be the `count` classes in ascending order.

    That holds for consecutive ones, such as 1 to 10, and for two of two, such as -1 and 1. Where
    there are gaps, a number may as well be a mistake.
    """
    if len(numbers) != count:
        return False
    return count == 2 or max(numbers) - min(numbers) == count - 1


def _two_readings(named: Mapping[str, int], whole: Mapping[str, int], names: Sequence[str]) -> str:
    label = next(label for label in named if named[label] != whole[label])
    return (
        f"label {label} may be the class named '{label}' or class number {label}, which is named "
        f"'{names[whole[label]]}'; give the classes names that are no numbers, and labels "
        "these names"
    )


def _no_positions(places: Places, whole: Mapping[str, int], count: int | None) -> UserError:
    """Return what to say of labels that are no positions of the model's outputs."""
    texts = [label for label in places if label not in whole]
    where, example = places[texts[0]] if texts else ("", None)
    if texts and whole:
        message = (
            f"the label {texts[0]!r} of example {example} is no whole number, as others are; "
            f"correct it, or {NAME_THEM}"
        )
        return UserError(message, where=where)
    if texts:
        message = (
            f"the labels are text ({listed(map(repr, texts), SHOWN)}); "
            f"which of the model's outputs each means is not known: {NAME_THEM}"
        )
        return UserError(message, where=where)
    wrong = next(
        label
        for label, number in whole.items()
        if number < 0 or (count is not None and number >= count)
    )
    where, example = places[wrong]
    allowed = "0 or more" if count is None else f"0 to {count - 1}"
    message = (
        f"the label of example {example} is {wrong}, but the model's classes are {allowed}; if the "
        f"labels, {listed(sorted(places, key=whole.__getitem__), SHOWN)}, mean other classes, "
        f"{NAME_THEM}"
    )
    return UserError(message, where=where)


def _no_names(places: Places, names: Sequence[str], whole: Mapping[str, int]) -> UserError:
    """Return what to say of labels that are not all names of classes, nor all positions."""
    unnamed = [label for label in places if _named(label, names) is None]
    outside = [label for label in unnamed if not 0 <= whole.get(label, -1) < len(names)]
    wrong = (outside or unnamed)[0]
    where, example = places[wrong]
    what = f"folder '{wrong}'" if example is None else f"the label '{wrong}' of example {example}"
    message = f"{what} is not in {WHERE}{suggestion(wrong, names)}: {listed(names)}"
    return UserError(message, where=where)


def _folder_codes(
    places: Places,
    names: Sequence[str] | None,
    count: int | None,
    found: Mapping[str, Observed],
) -> tuple[str, dict[str, int]]:
    """Return how folders are mapped, and the class of each."""
    if names is not None:
        return _codes(places, names, count)
    if count is not None and places and len(places) != count:
        where = next(iter(places.values()))[0]
        raise UserError(_other_number(places, count, found), where=where)
    numbers = all(map(DIGITS.fullmatch, places))
    ordered = sorted(places, key=lambda name: (int(name) if numbers else 0, name))
    return "folders", {folder: code for code, folder in enumerate(ordered)}


def _other_number(places: Places, count: int, found: Mapping[str, Observed]) -> str:
    sets = {name: observed.labels for name, observed in found.items() if observed.folders}
    partly = [
        f"'{folder}' only in {listed(name for name in sets if folder in sets[name])}"
        for folder in places
        if not all(folder in labels for labels in sets.values())
    ]
    detail = f"; {listed(partly, SHOWN)}" if partly else ""
    return (
        f"the model distinguishes {count} classes, but there are {len(places)} folders of "
        f"classes in all data sets ({listed(places)}{detail}); {NAME_THEM}"
    )


def _notes(how: str, codes: Mapping[str, int]) -> tuple[str, ...]:
    """Return what a person should check of labels that were mapped by their order."""
    if how == "order":
        pairs = listed((f"{label} is class {code}" for label, code in codes.items()), SHOWN)
        return (
            f"labels do not count from 0 and are mapped in ascending order: {pairs}; if the "
            f"model means others, {NAME_THEM}",
        )
    as_text = sorted(codes)
    if how == "folders" and [codes[name] for name in as_text] != list(range(len(codes))):
        in_order = listed(sorted(codes, key=codes.__getitem__), 3)
        return (
            f"the folders {in_order} are the model's outputs in the order of their numbers; "
            f"torchvision's ImageFolder sorts them as text ({listed(as_text, 3)}), so for a model "
            f"trained with it {NAME_THEM}",
        )
    return ()


def _absent(
    found: Mapping[str, Observed],
    codes: Mapping[str, int],
    folders: Mapping[str, int],
    names: Sequence[str],
) -> tuple[str, ...]:
    """Return a note on the classes that the test data, or all data, lack."""
    seen = {
        data: {
            (folders if observed.folders else codes)[label]
            for label, each in observed.labels.items()
            if each.count
        }
        for data, observed in found.items()
    }
    everywhere = set[int]().union(*seen.values())
    notes = []
    nowhere = [name for code, name in enumerate(names) if code not in everywhere]
    if nowhere:
        notes.append(f"no data set has an example of class {listed(nowhere, SHOWN)}")
    untested = everywhere - seen.get("test", everywhere)
    missing = [name for code, name in enumerate(names) if code in untested]
    if missing:
        notes.append(
            f"the test data have no example of class {listed(missing, SHOWN)}, so nothing is "
            "measured of it"
        )
    return tuple(notes)


def _record(
    found: Mapping[str, Observed],
    codes: Mapping[str, int],
    folders: Mapping[str, int],
    names: Sequence[str],
    how: str,
) -> LabelMapping:
    entries = [
        ClassLabel(
            label=label,
            folder=is_folder,
            index=code,
            name=names[code],
            examples={
                data: observed.labels[label].count
                for data, observed in found.items()
                if observed.folders == is_folder and label in observed.labels
            },
        )
        for is_folder, mapping in ((True, folders), (False, codes))
        for label, code in sorted(mapping.items(), key=lambda item: (item[1], item[0]))
    ]
    return LabelMapping(how=HOW[how], labels=tuple(entries))
