"""The report as a browser draws it: what is seen, on a desk and on a phone, and by what right.

Needs Debian's `chromium` and `chromium-driver`; skipped if they are missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from builders.details import make_prune, make_validate
from builders.evidence import make_evidence, make_stage
from builders.figures import make_comparison, make_confusion, make_delta, make_latency
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from fulcrum_pipelines.evidence import Evidence, LayerSparsity
from fulcrum_pipelines.gates import decide
from fulcrum_pipelines.report import render
from fulcrum_pipelines.resources.compressionjob import Gate

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="chromium and chromium-driver (Debian packages) are not installed",
)

DESK, PHONE = 1280, 390
GATES = (
    Gate(name="accuracy", kind="nonInferiority", metric="accuracy", margin=0.01),
    Gate(name="speed", kind="speedup", min=4.5),
    Gate(name="size", kind="size", max=0.125),
    Gate(name="churn", kind="churn", max=0.02, mode="DryRun"),
)

MARKS = {
    "metric-accuracy": 2,  # baseline and candidate
    "metric-logLoss": 2,
    "metric-mse": 2,
    "slices-0": 10,  # classes
    "lever-logLoss": 4,  # baseline, pruned, fine-tuned, quantized
    "lever-accuracy": 4,
    "speedups": 4,  # two batch sizes, each with A/A
    "latency-1": 2,
    "latency-32": 2,
    "size-bytes": 6,  # file, gzip, memory, each before and after
    "size-counts": 6,
    "layers": 10,
    "sensitivity": 27,  # nine layers at three sparsities
    "finetune-loss": 2,  # train and validation
    "finetune-metric": 1,
    "candidates": 4,
    "confusion-before": 100,
    "confusion-after": 100,
    "confusion-change": 100,
    "stage-time": 5,
    "stage-memory": 5,
}

LOOK = """
const area = box => box.width * box.height;
const round = box => [box.left, box.top, box.right, box.bottom];
const meet = (a, b) => Math.min(a[2], b[2]) - Math.max(a[0], b[0]) > 1
                    && Math.min(a[3], b[3]) - Math.max(a[1], b[1]) > 2;
return [...document.querySelectorAll("svg")].map(svg => {
  const frame = svg.getBoundingClientRect();
  const texts = [...svg.querySelectorAll("text")].filter(t => t.textContent.trim());
  const boxes = texts.map(t => round(t.getBoundingClientRect()));
  const overlaps = [];
  boxes.forEach((a, i) => boxes.forEach((b, j) => {
    if (i < j && meet(a, b)) overlaps.push(texts[i].textContent + " / " + texts[j].textContent);
  }));
  const marks = [...svg.querySelectorAll(".mark")];
  const outside = [...marks, ...texts].filter(m => {
    const [left, top, right, bottom] = round(m.getBoundingClientRect());
    return left < frame.left - 1 || right > frame.right + 1
        || top < frame.top - 1 || bottom > frame.bottom + 1;
  }).map(m => m.textContent);
  return {
    key: svg.id, marks: marks.length, overlaps: overlaps, outside: outside,
    empty: marks.filter(m => area(m.getBoundingClientRect()) === 0).length,
    named: ["title", "desc"].every(n => svg.querySelector(":scope > " + n).textContent.length > 3),
    width: frame.width, height: frame.height,
  };
});
"""

POINTED = """
const tip = (svg, x, y) => {
  const hit = document.elementFromPoint(x, y);
  const marked = hit && svg.contains(hit) ? hit.closest("g:has(> title)") : null;
  return marked ? marked.querySelector(":scope > title").textContent : "";
};
const result = {};
for (const svg of document.querySelectorAll("svg")) {
  result[svg.id] = [...svg.querySelectorAll(".mark, .mark .dot")].map(mark => {
    mark.scrollIntoView({block: "center", behavior: "instant"});
    const box = mark.getBoundingClientRect();
    return tip(svg, (box.left + box.right) / 2, (box.top + box.bottom) / 2);
  });
}
return result;
"""

CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const light = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const page = getComputedStyle(document.documentElement);
const paint = name => light(page.getPropertyValue(name).trim());
const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
const result = {};
for (const ink of ["--ink", "--soft", "--good", "--bad", "--unclear", "--odd", "--candidate"])
  result[ink] = Math.min(ratio(paint(ink), paint("--card")), ratio(paint(ink), paint("--page")));
return result;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    os.environ["SE_OFFLINE"] = "true"  # use the installed driver, never fetch another
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def show(
    browser: webdriver.Chrome, folder: Path, page: str, *, width: int = DESK, scheme: str = "light"
) -> None:
    """Open `page` from a file at a width in a colour scheme, all tables unfolded."""
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")  # forget what earlier pages said
    browser.get(file.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")


def looks(browser: webdriver.Chrome) -> dict[str, dict[str, Any]]:
    """Return what is seen of each plot, by its key."""
    return {plot["key"]: plot for plot in browser.execute_script(LOOK)}


def assert_sound(browser: webdriver.Chrome) -> None:
    """Check what must hold of every report at every width."""
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    ), "the page scrolls sideways"
    for key, plot in looks(browser).items():
        assert plot["width"] > 200, key
        assert plot["height"] > 20, key
        assert plot["empty"] == 0, f"{key}: marks without size"
        assert plot["outside"] == [], f"{key}: drawn outside of the plot"
        assert plot["overlaps"] == [], f"{key}: texts overlap"
        assert plot["named"], f"{key}: no title or description"


def full_report(evidence: Evidence | None = None) -> str:
    evidence = evidence if evidence is not None else make_evidence()
    return render(evidence, decide(evidence, GATES), title="mnist-resnet")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESK, PHONE])
def test_everything_is_drawn(
    browser: webdriver.Chrome, tmp_path: Path, width: int, scheme: str
) -> None:
    show(browser, tmp_path, full_report(), width=width, scheme=scheme)

    assert_sound(browser)
    seen = looks(browser)
    assert {key: seen[key]["marks"] for key in MARKS} == MARKS
    contrasts = browser.execute_script(CONTRAST)
    assert min(contrasts.values()) >= 4.5, contrasts  # WCAG 2.2, level AA


def test_pointer_reads_a_value_at_every_mark(browser: webdriver.Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, full_report())

    tips = browser.execute_script(POINTED)
    assert set(tips) >= set(MARKS)
    curves = {"finetune-loss", "finetune-metric"}  # between the points of a curve is no value
    for key, found in tips.items():
        values = [tip for tip in found if tip.partition(": ")[2]]  # or why there is none
        assert len(values) >= (2 if key in curves else len(found)), (key, found)


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_plot_is_enlarged_without_a_script(
    browser: webdriver.Chrome, tmp_path: Path, width: int
) -> None:
    show(browser, tmp_path, full_report(), width=width)
    before = looks(browser)

    boxes = browser.find_elements("css selector", ".enlarge input")
    assert len(boxes) == len(before)
    browser.execute_script("arguments[0].click()", boxes[0])
    after = looks(browser)
    (enlarged,) = (key for key in before if after[key]["width"] > 1.5 * before[key]["width"])
    assert after[enlarged]["width"] >= 960
    assert browser.execute_script(
        "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    ), "the page scrolls sideways"


def test_the_verdict_is_the_first_thing_seen(browser: webdriver.Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, full_report())

    words = browser.find_element("css selector", ".verdict")
    assert words.is_displayed()
    assert words.text.splitlines()[-2:] == ["Pass", "The candidate keeps every enforced gate."]
    assert words.rect["y"] < 300
    assert "×5.80 faster" in browser.find_element("css selector", ".tiles").text


def test_a_gate_row_on_a_phone_names_its_values(browser: webdriver.Chrome, tmp_path: Path) -> None:
    show(browser, tmp_path, full_report(), width=PHONE)

    names = browser.execute_script(
        "return [...document.querySelector('#gates tbody tr').children]"
        ".map(cell => getComputedStyle(cell, '::before').content)"
    )
    assert names[:3] == ['"Verdict"', '"Gate"', '"Observed"']


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_hostile_names_are_text(browser: webdriver.Chrome, tmp_path: Path, width: int) -> None:
    attack = "</title><script>window.pwned=1</script><img src=x onerror=window.pwned=2>\"'&"
    layer = LayerSparsity(
        layer=attack, shape_before=(8,), shape_after=(4,), sparsity=0.5, note=attack
    )
    validate = make_validate(
        comparisons=(
            make_comparison(note=attack),
            make_comparison(slice=f"device={attack}"),
            make_delta(attack, 0.2, 0.3, 0.01),
        ),
        latency=(make_latency(note=attack, reliable=False),),
    )
    evidence = make_evidence(
        records=(
            make_stage("prune", details=make_prune(method=attack, layers=(layer,)), run=attack),
            make_stage(details=validate, warnings=(attack,), run=attack),
        ),
        run=attack,
    )
    page = render(evidence, decide(evidence, GATES), title=attack)
    show(browser, tmp_path, page, width=width)

    assert_sound(browser)
    assert browser.execute_script("return window.pwned === undefined")
    assert browser.execute_script("return document.querySelectorAll('script, img').length") == 0
    assert browser.find_element("css selector", "h1").text == attack


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_what_is_missing_is_said(browser: webdriver.Chrome, tmp_path: Path, width: int) -> None:
    evidence = make_evidence(stages=("evaluate",))
    show(browser, tmp_path, render(evidence, None, title="half"), width=width)

    assert_sound(browser)
    text = browser.find_element("tag name", "body").text
    for sentence in (
        "No gates were given.",
        "Validate left no evidence.",
        "Latency was not measured.",
        "The recipe did not prune.",
        "The recipe did not quantize.",
    ):
        assert sentence in text


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_many_classes_and_layers_stay_readable(
    browser: webdriver.Chrome, tmp_path: Path, width: int
) -> None:
    names = [f"features.stage{n // 20}.{n}.bottleneck.convolution" for n in range(120)]
    layers = tuple(
        LayerSparsity(layer=n, shape_before=(64, 3), shape_after=(32, 3), sparsity=0.5)
        for n in names
    )
    classes = tuple(
        make_comparison(n=200, right=190, broken=n % 7, fixed=n % 5, slice=f"class={n:03d} longish")
        for n in range(100)
    )
    validate = make_validate(
        comparisons=(make_comparison(), *classes),
        confusion_baseline=make_confusion(((3, 5, 4),), classes=40),
        confusion_candidate=make_confusion(((3, 5, 9),), classes=40),
    )
    evidence = make_evidence(
        records=(
            make_stage("prune", details=make_prune(layers=layers)),
            make_stage(details=validate),
        )
    )
    show(browser, tmp_path, full_report(evidence), width=width)

    assert_sound(browser)
    seen = looks(browser)
    assert seen["layers"]["marks"] == 40
    assert seen["slices-0"]["marks"] == 40
    assert seen["confusion-after"]["marks"] == 1600
