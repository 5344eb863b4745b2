"""CompressionJobs whose metadata the API server refuses, and some at the border of its rules."""

from __future__ import annotations

from manifest_tables.rows import Row

LABELS, ANNOTATIONS = "metadata.labels", "metadata.annotations"
LARGEST = "x" * ((256 << 10) - 1)  # beside a name of one character

METADATA_ACCEPTED = (
    Row("label without a value", {LABELS: {"a": ""}}),
    Row("label of 63 characters", {LABELS: {"A" * 63: "1" + "_.-" * 20 + "ab"}}),
    Row("label of a domain", {LABELS: {"a-1.example.com/Team_of.Vision": "Ab"}}),
    Row("label of a long domain", {LABELS: {f"{'x' * 253}/a": "b"}}),
    Row("annotation with capitals in its domain", {ANNOTATIONS: {"Example.COM/Note": "a b\n"}}),
    Row("annotations of 256 KiB", {ANNOTATIONS: {"a": LARGEST}}),
    Row("beginning of a name beside the name", {"metadata.generateName": "mnist-"}),
    Row("beginning of a name as the server reads it", {"metadata.generateName": "a_-"}),
)


def _label(name: str, key: str, value: str, hint: str) -> Row:
    return Row(
        name,
        {LABELS: {key: value}},
        f"{LABELS}.{key}",
        hints=(hint, "at most 63 letters"),
        server_at=LABELS,
    )


def _annotation(name: str, key: str) -> Row:
    return Row(
        name,
        {ANNOTATIONS: {key: "b"}},
        f"{ANNOTATIONS}.{key}",
        hints=("is not an annotation's name", "after the name of a domain and /"),
        server_at=ANNOTATIONS,
    )


METADATA_REFUSED = (
    Row("no name", {"metadata": {}}, "metadata.name", hints=("required",), offline=True),
    Row(
        "name with capitals",
        {"metadata.name": "MNIST"},
        "metadata.name",
        hints=("lower-case",),
        offline=True,
    ),
    Row("name with underscore", {"metadata.name": "a_b"}, "metadata.name", hints=("lower-case",)),
    Row(
        "name that ends in a dash", {"metadata.name": "a-"}, "metadata.name", hints=("ending with",)
    ),
    Row(
        "namespace",
        {"metadata.namespace": "a.b"},
        "metadata.namespace",
        hints=("63",),
        offline=True,
    ),
    *(
        Row(
            f"{field[:-1]} {name}",
            {f"metadata.{field}": {"a": value}},
            f"metadata.{field}.a",
            hints=(f"must be text, not {shown} (",),  # quotes would not make it the text meant
            offline=True,
        )
        for field in ("labels", "annotations")
        for name, value, shown in (
            ("null", None, "null"),
            ("as mapping", {}, "a mapping"),
            ("as list", [], "a list"),
        )
    ),
    Row(
        "label as number",
        {"metadata.labels": {"a": 1}},
        "metadata.labels.a",
        hints=("quotes",),
        offline=True,
    ),
    Row(
        "no name but its beginning",
        {"metadata": {"generateName": "mnist-"}},
        "metadata.name",
        hints=("is required, beside generateName too",),
        offline=True,
    ),
    Row("empty name", {"metadata.name": ""}, "metadata.name", offline=True),
    Row(
        "name of 254 characters",
        {"metadata.name": "x" * 254},
        "metadata.name",
        hints=("at most 253",),
    ),
    Row("name on two lines", {"metadata.name": "a\n"}, "metadata.name", hints=(r"'a\n'",)),
    *(
        Row(
            f"beginning of a name: {text[:9]}",
            {"metadata.generateName": text},
            "metadata.generateName",
            hints=("must not be", "lower-case letters"),
        )
        for text in ("AB-", "a_b-", "-", ".a-", "x" * 254)
    ),
    Row(
        "namespace of 64 characters",
        {"metadata.namespace": "x" * 64},
        "metadata.namespace",
        hints=("at most 63",),
        offline=True,
    ),
    *(
        _label(f"name of a label: {name}", key, "b", "is not a label's name")
        for name, key in (
            ("space", "a b"),
            ("empty", ""),
            ("64 characters", "x" * 64),
            ("dash at the end", "a-"),
            ("two slashes", "a/b/c"),
            ("no domain", "/b"),
            ("nothing after the domain", "a/"),
            ("capitals in the domain", "A/b"),
            ("254 characters of domain", f"{'x' * 254}/b"),
            ("umlaut", "gr\u00fcn"),
            ("new line at the end", "a\n"),
        )
    ),
    *(
        _label(f"value of a label: {name}", "a", value, "must not be")
        for name, value in (
            ("space", "a b"),
            ("64 characters", "x" * 64),
            ("dash at the end", "a-"),
            ("slash", "a/b"),
            ("umlaut", "gr\u00fcn"),
            ("new line at the end", "a\n"),
        )
    ),
    *(
        _annotation(f"name of an annotation: {name}", key)
        for name, key in (
            ("space", "a b"),
            ("empty", ""),
            ("64 characters", "x" * 64),
            ("two slashes", "a/b/c"),
            ("umlaut", "gr\u00fcn"),
        )
    ),
    Row(
        "annotations of more than 256 KiB",
        {ANNOTATIONS: {"a": LARGEST, "b": ""}},
        ANNOTATIONS,
        hints=("have 262145 bytes", "at most 262144"),
    ),
    Row(
        "annotations of more bytes than characters",
        {ANNOTATIONS: {"a": "\u00fc" * (129 << 10)}},
        ANNOTATIONS,
        hints=("have 264193 bytes",),
    ),
)
