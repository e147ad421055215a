"""The rows of the study on CamVid and CCP, and its tables.

All trainings with pretrained weights and all from scratch are in bf16, on a CPU, too: on processors that have it a step
takes two thirds of the time or less, and where both were measured the mIoU is the same within half a point
(docs/results.md). The fast start is `decoder.init=xavier`, which every decoder of attention-to-mask layers has: SegViT,
Shrunk with its up-sampling layers, edge-aware Shrunk, and DToP's heads.
"""

from __future__ import annotations

from functools import partial

from row import Row, Table, with_budget

SEEDS = (0, 1, 2)
BF16 = "training.precision=bf16-mixed"
FAST = "decoder.init=xavier"
FULL = (
    "data.augment.crop_size=[352,480]",
    "data.num_workers=8",
    "optimizer.lr=6.0e-5",
    "schedule.warmup_iterations=1500",
    "training.batch_size=16",
    BF16,
)
"""The full protocol, beside its 12,000 iterations; the head's rate is ten times the backbone's, as in the short one."""


def camvid(name: str, label: str, recipe: str, *overrides: str, **fields) -> Row:
    return Row(name, "", label, f"camvid/{recipe}", (*overrides, BF16), **fields)


MAIN = (
    camvid("segvit", "SegViT, published start", "segvit-vit_tiny", seeds=SEEDS),
    camvid("segvit-fast", "SegViT, fast start", "segvit-vit_tiny", FAST, seeds=SEEDS),
    camvid("setr", "SETR-Naive", "setr-vit_tiny-naive", seeds=SEEDS),
    camvid("eomt", "EoMT-style", "eomt-vit_tiny", seeds=SEEDS),
    camvid("joint", "SegViT, joint queries", "segvit_joint-vit_tiny", seeds=SEEDS),
    camvid("segmenter", "Segmenter", "segmenter-vit_tiny", seeds=SEEDS),
    camvid(
        "linear",
        "linear",
        "linear-vit_tiny-finetuned",
        seeds=SEEDS,
        note="The backbone learns, as in the other rows: no probe.",
    ),
)

SHRUNK = (
    camvid("shrunk", "Shrunk, fast start", "shrunk-vit_tiny", FAST, seeds=SEEDS),
    camvid(
        "edges",
        "edge-aware Shrunk, fast start",
        "shrunk-vit_tiny-edges",
        FAST,
        seeds=SEEDS,
        varies=True,
    ),
)

FULL_ROWS = tuple(
    Row(
        f"{row.name}-full",
        "full",
        row.label,
        row.recipe,
        (*row.overrides, *FULL),
        12_000,
        SEEDS,
        on_gpu=True,
    )
    for row in MAIN
    if row.name in ("segvit-fast", "setr", "eomt", "joint", "segmenter")
)


def dtop(name: str, label: str, *overrides: str, recipe: str = "dtop-vit_tiny", **fields) -> Row:
    fields = {"group": "dtop", "seeds": SEEDS, "varies": True, **fields}
    return Row(
        name=name, label=label, recipe=f"camvid/{recipe}", overrides=(*overrides, BF16), **fields
    )


def finetuned(name: str, label: str, *overrides: str, **fields) -> Row:
    """250 more iterations, with a schedule of their own, from the base model."""
    fields = {"iterations": 250, "start": "dtop-base", **fields}
    return dtop(name, label, *overrides, **fields)


def look(name: str, label: str, start: str, threshold: float, **fields) -> Row:
    return dtop(name, label, start=start, threshold=threshold, kind="look", **fields)


SYMMETRIC = {
    "conv": "2 x 2 convolution",
    "average_pool": "2 x 2 average pool",
    "nearest": "2 x 2 nearest",
}

DTOP = (
    dtop("dtop-base", "base model, nobody leaves", FAST),
    finetuned("dtop-control", "control: 250 more iterations, nobody leaves", FAST),
    finetuned("dtop-topk", "finetuned at 0.95, top-k (DToP)", FAST, "pruning.threshold=0.95"),
    look("dtop-direct", "direct: base model, run at 0.95", "dtop-base", 0.95),
    dtop("dtop-retrain", "retrained at 0.95", FAST, "pruning.threshold=0.95"),
    *(
        finetuned(
            f"dtop-{rule}",
            f"finetuned at 0.95, {rule}",
            FAST,
            f"pruning.rule={rule}",
            "pruning.threshold=0.95",
        )
        for rule in ("remove", "average", "share")
    ),
    *(
        look(f"dtop-topk@{at}", f"finetuned model at {at}", "dtop-topk", at)
        for at in (0.6, 0.7, 0.8, 0.85, 0.9, 1.0)
    ),
    *(
        finetuned(
            f"dtop-{rule}",
            f"{label} behind block 8",
            FAST,
            "backbone.taps=[8,11]",
            f"pruning.rule={rule}",
            "pruning.threshold=0.95",
            exit_behind=8,
        )
        for rule, label in SYMMETRIC.items()
    ),
)


def scratch(name: str, label: str, recipe: str, *overrides: str, **fields) -> Row:
    fields = {"group": "pyramids", "iterations": 5000, "trimap": True, **fields}
    return Row(
        name=name, label=label, recipe=f"camvid/{recipe}", overrides=(*overrides, BF16), **fields
    )


SCRATCH = (
    scratch("bilinear", "bilinear decoder", "deeplab-resnet18c-bilinear"),
    scratch("deeplab", "DeepLabV3+", "deeplab-resnet18c"),
    scratch("nrd", "NRD", "nrd-resnet18c"),
    scratch("fpn", "Swin-T, Semantic FPN", "fpn-swin_tiny", group="semask", trimap=False),
    scratch("semask", "SeMask-T, Semantic FPN", "semask-swin_tiny", group="semask", trimap=False),
)

ORDERS = {"": (), "-order1": ("continual.order=random", "continual.order_seed=1")}
SPLITS = ("12_12", "12_4", "12_2")


def steps(name: str, label: str, head: str, split: str, *overrides: str, **fields) -> Row:
    recipe = f"ccp/continual-{head}-vit_tiny-{split}"
    return Row(
        name=name,
        label=label,
        recipe=recipe,
        overrides=(*overrides, BF16),
        kind="steps",
        data="ccp",
        **fields,
    )


def of_split(order: str, split: str) -> str:
    return f"{split.replace('_', '-')}{order}"


CONTINUAL = tuple(
    row
    for order, ordered in ORDERS.items()
    for row in (
        *(
            steps(
                f"cl-{of_split(order, split)}",
                "SegViT-CL, fast start",
                "segvit",
                split,
                FAST,
                *ordered,
                group="continual",
                first_of=None if split == SPLITS[0] else f"cl-{of_split(order, SPLITS[0])}",
            )
            for split in SPLITS
        ),
        steps(
            f"cl-joint{order}",
            "SegViT, joint training (oracle)",
            "segvit",
            SPLITS[0],
            FAST,
            *ordered,
            "continual.approach=joint",
            group="continual",
        ),
    )
)

BASELINES = {"finetune": "fine-tuning", "linear_rows": "linear rows", "mib": "MiB", "plop": "PLOP"}

CONTINUAL_BASELINES = (
    *(
        steps(
            f"cl-{of_split('', split)}-{approach}",
            label,
            "linear",
            split,
            f"continual.approach={approach}",
            group="baselines",
            extra=True,
            first_of=None
            if (split, approach) == (SPLITS[0], "finetune")
            else f"cl-{of_split('', SPLITS[0])}-finetune",
        )
        for split in SPLITS
        for approach, label in BASELINES.items()
    ),
    steps(
        "cl-joint-linear",
        "linear, joint training (oracle)",
        "linear",
        SPLITS[0],
        "continual.approach=joint",
        group="baselines",
        extra=True,
    ),
)

EXTRA = tuple(
    Row(
        name=row.name,
        group="extra",
        label=row.label,
        recipe=row.recipe,
        overrides=row.overrides,
        extra=True,
        varies=row.varies,
    )
    for row in (
        camvid(
            "segvit-single-1000",
            "SegViT, fast start, tap 12",
            "segvit-vit_tiny",
            FAST,
            "backbone.taps=[11]",
        ),
        camvid(
            "segvit-two-1000",
            "SegViT, fast start, taps 6, 12",
            "segvit-vit_tiny",
            FAST,
            "backbone.taps=[5,11]",
        ),
        camvid(
            "segvit-four-1000",
            "SegViT, fast start, taps 3, 6, 9, 12",
            "segvit-vit_tiny",
            FAST,
            "backbone.taps=[2,5,8,11]",
        ),
        camvid(
            "segvit-ce-1000",
            "SegViT, fast start, tap 12, cross-entropy",
            "segvit-vit_tiny",
            FAST,
            "backbone.taps=[11]",
            "loss.kind=pixels",
        ),
        camvid(
            "segvit-dot-1000",
            "SegViT, fast start, masks as products",
            "segvit-vit_tiny",
            FAST,
            "decoder.masks=dot_product",
        ),
        camvid("setr-pup-1000", "SETR-PUP", "setr-vit_tiny-pup"),
        camvid(
            "setr-scratch-1000",
            "SETR-Naive, random weights",
            "setr-vit_tiny-naive",
            "backbone.pretrained=false",
        ),
        camvid("setr-mla-1000", "SETR-MLA", "setr-vit_tiny-mla"),
        camvid("upernet-1000", "UPerNet", "upernet-vit_tiny"),
        camvid(
            "shrunk-naive-1000",
            "QD without QU",
            "shrunk-vit_tiny",
            FAST,
            "upsample=null",
            "decoder.projection=linear_layernorm",
            "optimizer.lr_ratios={}",
        ),
        camvid(
            "shrunk-block0-1000", "Shrunk, QD in block 0", "shrunk-vit_tiny", FAST, "shrink.block=0"
        ),
        camvid(
            "shrunk-conv-1000",
            "Shrunk, QD by a convolution",
            "shrunk-vit_tiny",
            FAST,
            "shrink.method=conv",
        ),
        camvid(
            "shrunk-qkv-1000",
            "Shrunk, nearest of Q, K and V",
            "shrunk-vit_tiny",
            FAST,
            "shrink.method=nearest_qkv",
        ),
    )
)

setr_dtop = partial(dtop, recipe="dtop-vit_tiny-fcn", group="dtop-extra", extra=True, seeds=(0,))

DTOP_EXTRA = (
    setr_dtop(
        "dtop-fcn-base",
        "SETR's heads, nobody leaves",
    ),
    *(
        setr_dtop(
            f"dtop-fcn-{at}",
            f"SETR's heads, finetuned at {at}",
            f"pruning.threshold={at}",
            start="dtop-fcn-base",
            iterations=250,
        )
        for at in (1.0, 0.9, 0.98)
    ),
    setr_dtop(
        "dtop-fcn-direct",
        "SETR's heads, direct at 0.98",
        start="dtop-fcn-base",
        threshold=0.98,
        kind="look",
    ),
)

NRD_EXTRA = (
    scratch(
        "nrd-coordinates",
        "NRD, coordinates alone",
        "nrd-resnet18c",
        "decoder.guidance_dim=null",
        "backbone.levels=[2,3]",
        group="nrd-extra",
        extra=True,
    ),
    scratch(
        "nrd-guidance",
        "NRD, guidance alone",
        "nrd-resnet18c",
        "decoder.use_coordinates=false",
        group="nrd-extra",
        extra=True,
    ),
)

ROWS = (
    *with_budget(MAIN, "main-1000", 1000),
    *with_budget(SHRUNK, "shrunk-1000", 1000),
    *DTOP,
    *CONTINUAL,
    *with_budget(MAIN, "main-3000", 3000),
    *with_budget(SHRUNK, "shrunk-3000", 3000),
    *SCRATCH,
    *FULL_ROWS,
    *CONTINUAL_BASELINES,
    *EXTRA,
    *DTOP_EXTRA,
    *NRD_EXTRA,
)


def of(group: str) -> tuple[str, ...]:
    return tuple(row.name for row in ROWS if row.group == group)


TABLES = (
    Table("Heads on ViT-Ti, 1,000 iterations", of("main-1000")),
    Table("Heads on ViT-Ti, 3,000 iterations", of("main-3000")),
    Table("Heads on ViT-Ti, the full protocol", of("full")),
    Table("Shrunk beside SegViT, 1,000 iterations", ("segvit-fast-1000", *of("shrunk-1000"))),
    Table("Shrunk beside SegViT, 3,000 iterations", ("segvit-fast-3000", *of("shrunk-3000"))),
    Table(
        "Token pruning: thesis table 5.1",
        ("dtop-base", "dtop-control", "dtop-direct", "dtop-topk", "dtop-retrain"),
        "Finetuned rows have 250 more iterations than the base model. So has the control, in which nobody leaves: it "
        "is what pruned rows are compared with.",
    ),
    Table(
        "Token pruning: thesis table 5.2",
        ("dtop-topk", *(name for name in of("dtop") if "@" in name)),
        "One finetuned model, run at other thresholds.",
    ),
    Table(
        "Token pruning: thesis table 5.5",
        ("dtop-control", "dtop-topk", "dtop-remove", "dtop-average", "dtop-share"),
    ),
    Table(
        "Token pruning: thesis table 5.8",
        ("dtop-control", "dtop-topk", *(f"dtop-{rule}" for rule in SYMMETRIC)),
        "Symmetric rows start from the base model with its first exit moved behind block 8.",
    ),
    Table(
        "Decoders on a ResNet-18 from scratch, 5,000 iterations",
        of("pyramids"),
        "Nothing is pretrained: compared with one another only.",
    ),
    Table(
        "SeMask on Swin-T from scratch, 5,000 iterations",
        of("semask"),
        "Nothing is pretrained: compared with one another only.",
    ),
    *(
        Table(
            f"Classes in steps on CCP, {of_split('', split)}{', another order' * bool(order)}",
            (
                f"cl-{of_split(order, split)}",
                *(() if order else (f"cl-{of_split('', split)}-{name}" for name in BASELINES)),
                f"cl-joint{order}",
                *(() if order else ("cl-joint-linear",)),
            ),
        )
        for order in ORDERS
        for split in SPLITS
    ),
    Table(
        "What was left out or changed in SegViT and Shrunk, 1,000 iterations",
        ("segvit-fast-1000", "setr-1000", "shrunk-1000", *of("extra")),
    ),
    Table("Token pruning on SETR's heads: thesis table 5.3", of("dtop-extra")),
    Table("NRD's inputs: thesis table 3.4", ("bilinear", "nrd", *of("nrd-extra"))),
)
