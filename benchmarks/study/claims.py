"""What the papers claim, with their numbers, and what each claim rests on here.

SegViT: Zhang et al., NeurIPS 2022. Thesis: Zhang, on NRD (chapter 3), SegViT v2 with Shrunk and classes in steps
(chapter 4), and DToP (chapter 5). SeMask: the abstract of Jain et al. SETR: Zheng et al., CVPR 2021, by the slides of a
reading group. Review: a review of SegViT in Chinese. Numbers are mIoU in percent at a single scale unless said;
theirs are of ViT-B or ViT-L on ADE20K or Cityscapes after 40,000 to 160,000 iterations, ours of ViT-Ti on CamVid or CCP
after a thousand or a few.
"Competitive" and "maintained" are read as at most two points behind, "about" as no less than the number beside it.

A claim of the best at its time on a data set that is not at hand has no check; `vitseg reproduce` trains such a row.
"""

from __future__ import annotations

from verdict import Ahead, AtLeast, Cheaper, Claim, NotBehind, Stated, StatedShare

GMACS = "gmacs_segvit.txt"
COLUMNS = r"\s*│\s*\d+\s*│\s*[\d.]+\s*│[^│]*│\s*([\d.]+)"  # classes, paper, reference, ours
SEGVIT_B, SEGVIT_L, SHRUNK_L, SHRUNK_B, NAIVE_B, DTOP_B = (
    name + COLUMNS
    for name in (
        "SegViT-B 512 ",
        "SegViT-L 640 ",
        "Shrunk-L 640 ",
        "Shrunk-B 512 ",
        "naive QD, B 512 ",
        "DToP, B 512, unpruned ",
    )
)
COMPETITIVE = 2.0
NARROW = "UPerNet has a quarter of its width."
INHERITED = "Ours has inherited queries and a slow rate for them: learned queries, as theirs, want far more iterations."


def _ahead_of_other_decoders(row: str) -> tuple[Ahead, ...]:
    """Of the decoders of SegViT's table 1, two were run at 1,000 iterations alone."""
    return (
        Ahead(f"{row}-{{}}", "segmenter-{}", 2.3),
        Ahead(f"{row}-{{}}", "setr-{}", 4.8),
        Ahead(f"{row}-1000", "setr-mla-1000", 3.1),
        Ahead(f"{row}-1000", "upernet-1000", 4.7),
    )


SEGVIT = (
    Claim(
        "SegViT, abstract and table 1; Thesis, table 4.1",
        "SegViT outperforms other decoders on the plain ViT: ViT-B 51.3, Segmenter 49.0, SETR-MLA 48.2, UPerNet 46.6",
        _ahead_of_other_decoders("segvit-fast"),
        note=f"With the fast start, and beside SETR's Naive form, too (theirs 46.5). {NARROW}",
    ),
    Claim(
        "SegViT, abstract and table 1",
        "The same with the weights' published start (a spread of 0.02)",
        _ahead_of_other_decoders("segvit"),
        note=f"Beside SETR's Naive form, too (theirs 46.5). {NARROW}",
    ),
    Claim(
        "SegViT, tables 4 and 8; Thesis, tables 4.4 and 4.7",
        "One ATM stage with the loss of masks is 3.1 ahead of SETR-Naive with cross-entropy (49.6, 46.5)",
        (Ahead("segvit-single-1000", "setr-1000", 3.1),),
    ),
    Claim(
        "SegViT, table 4; Thesis, table 4.4",
        "Trained with cross-entropy, ATM is 0.5 ahead of SETR-Naive (47.0, 46.5)",
        (Ahead("segvit-ce-1000", "setr-1000", 0.5),),
    ),
    Claim(
        "SegViT, section 4.4 and table 4; Thesis, section 4.3.4",
        "Supervising masks and classes apart gains much more than cross-entropy (49.6, 47.0)",
        (Ahead("segvit-single-1000", "segvit-ce-1000", 2.6),),
    ),
    Claim(
        "SegViT, table 5; Thesis, table 4.5",
        "Features of a lower layer besides gain 1.3 (50.9, 49.6)",
        (Ahead("segvit-two-1000", "segvit-single-1000", 1.3),),
    ),
    Claim(
        "SegViT, table 5; Thesis, table 4.5",
        "Three layers are best: 51.3; one 49.6, two 50.9, four 51.2",
        (
            Ahead("segvit-fast-1000", "segvit-single-1000", 1.7),
            Ahead("segvit-fast-1000", "segvit-two-1000", 0.4),
            Ahead("segvit-fast-1000", "segvit-four-1000", 0.1),
        ),
    ),
    Claim(
        "SegViT, table 9; Thesis, table 4.8",
        "Merging layers by tokens is ahead of SETR-MLA's merging of features (51.2, 48.2)",
        (Ahead("segvit-fast-1000", "setr-mla-1000", 3.0),),
    ),
    Claim(
        "Thesis, table 4.10",
        "SegViT's head is ahead of UPerNet's on every backbone (ViT-B of AugReg: 51.3, 48.6)",
        (Ahead("segvit-fast-1000", "upernet-1000", 2.66),),
        note=f"One backbone here. {NARROW}",
    ),
    Claim(
        "Thesis, section 4.3.5 and table 4.10",
        "SegViT's head takes 5 % of UPerNet's multiply-adds (ViT-B: 6.89 of 336.62)",
        lacks="multiply-adds of a head alone, and a UPerNet of its full width",
    ),
    Claim(
        "Thesis, table 4.1",
        "SegViT is faster than Segmenter, UPerNet and DPT on one A100 (ViT-B: 31.5 images a second; 20.5, 16.1, 23.6)",
        lacks="a GPU",
    ),
    Claim(
        "SegViT, table 9; Thesis, table 4.8",
        "Masks from attention are 0.6 ahead of the product of final queries with the features (51.2, 50.6)",
        (Ahead("segvit-fast-1000", "segvit-dot-1000", 0.6),),
    ),
    Claim(
        "Thesis, table 4.10",
        "SegViT's head follows the backbones' accuracy on ImageNet better than UPerNet's",
        lacks="several pretrained backbones",
    ),
    Claim(
        "SegViT, section 1 and table 8",
        "Masks are a by-product of attention: of ViT-B's SETR (107.3) ATM makes 115.8 with one stage, 120.9 with three",
        (Cheaper("segvit-fast-{}", "setr-{}", 1.13, 1.13),),
    ),
    Claim(
        "SegViT, table 1",
        "SegViT takes less than Segmenter (120.9, 129.6)",
        (Cheaper("segvit-fast-{}", "segmenter-{}", 1.0, 0.93),),
    ),
    Claim(
        "SegViT, tables 1 and 8; Thesis, tables 4.1 and 4.7",
        "10⁹ multiply-adds: SegViT-B 120.9, SegViT-L 637.9, Shrunk-L 373.5, Shrunk-B 97.1, QD alone 74.1",
        (
            Stated(GMACS, SEGVIT_B, 120.9, "those of SegViT-B"),
            Stated(GMACS, SEGVIT_L, 637.9, "those of SegViT-L"),
            Stated(GMACS, SHRUNK_L, 373.5, "those of Shrunk-L"),
            Stated(GMACS, SHRUNK_B, 97.1, "those of Shrunk-B"),
            Stated(GMACS, NAIVE_B, 74.1, "those of QD alone"),
        ),
    ),
    Claim(
        "SegViT, abstract, section 4.3 and table 1; Review",
        "Shrunk saves up to 40 % of the computation of ViT-L and stays competitive (53.9, 54.6; several scales 55.1, "
        "55.2)",
        (
            StatedShare(
                GMACS,
                SHRUNK_L,
                SEGVIT_L,
                "multiply-adds of Shrunk-L over SegViT-L",
                0.6,
                published=0.59,
            ),
            NotBehind("shrunk-{}", "segvit-fast-{}", COMPETITIVE, -0.7),
        ),
        note=f"The share is of ViT-L; the score is of ViT-Ti, where Shrunk saves less. {INHERITED}",
    ),
    Claim(
        "SegViT, section 4.4 and table 8; Thesis, table 4.7",
        "QD alone loses 2.7 (46.9, 49.6)",
        (Ahead("segvit-single-1000", "shrunk-naive-1000", 2.7),),
    ),
    Claim(
        "SegViT, section 4.4 and table 8; Thesis, table 4.7",
        "QU brings it back: Shrunk 50.0, without QU 46.9, one ATM stage 49.6",
        (
            Ahead("shrunk-1000", "shrunk-naive-1000", 3.1),
            NotBehind("shrunk-1000", "segvit-single-1000", COMPETITIVE, 0.4),
        ),
        note=INHERITED,
    ),
    Claim(
        "SegViT, table 8; Thesis, table 4.7",
        "Shrunk is 3.5 ahead of SETR-Naive (50.0, 46.5), edge-aware 3.4",
        (Ahead("shrunk-{}", "setr-{}", 3.5), Ahead("edges-{}", "setr-{}", 3.4)),
        note=INHERITED,
    ),
    Claim(
        "SegViT, table 7; Thesis, table 4.9",
        "A convolution that asks in QD destroys what is pretrained (44.5, 53.9)",
        (Ahead("shrunk-1000", "shrunk-conv-1000", 9.4),),
    ),
    Claim(
        "SegViT, table 7; Thesis, table 4.9",
        "Fewer queries alone are better than fewer queries, keys and values (53.9, 52.6)",
        (Ahead("shrunk-1000", "shrunk-qkv-1000", 1.3),),
    ),
    Claim(
        "Thesis, section 4.3.4 and table 4.7",
        "QD before the first layer loses 6.7 of Shrunk's 50.0",
        (Ahead("shrunk-1000", "shrunk-block0-1000", 6.7),),
    ),
    Claim(
        "Thesis, section 4.3.4 and table 4.7",
        "Edges kept (EQD) bring it back: 49.9, without 43.3, Shrunk 50.0",
        (
            Ahead("edges-1000", "shrunk-block0-1000", 6.6),
            NotBehind("edges-1000", "shrunk-1000", COMPETITIVE, -0.1),
        ),
        note=INHERITED,
    ),
    Claim(
        "Thesis, sections 4.3.3 and 4.4, table 4.1",
        "Edge-aware Shrunk saves about half and stays competitive (BEiTv2-L: 308.8 of 637.9; 55.7, 58.0; several "
        "scales 57.0, 58.2)",
        (
            Cheaper("edges-{}", "segvit-fast-{}", 0.5, 0.48),
            NotBehind("edges-{}", "segvit-fast-{}", COMPETITIVE, -2.3),
        ),
        note=f"Theirs loses more than our margin at a single scale, and 1.2 at several. {INHERITED}",
    ),
    Claim(
        "SegViT, table 6; Thesis, table 4.6",
        "On Swin-T SegViT is level with MaskFormer and Mask2Former (47.1; 46.7, 47.7) at 48.0 instead of 57.3 and 73.7",
        lacks="a pretrained Swin-T, ADE20K and a GPU",
    ),
    Claim(
        "SegViT, section 4.2",
        "Pretrained weights matter: of two for ViT-L, 51.7 and 54.6",
        lacks="the weights of two pretrainings of one ViT",
    ),
    Claim(
        "SegViT, tables 1 to 3; Review",
        "The best on ADE20K (55.2), COCO-Stuff-10K (50.3) and PASCAL-Context (59 classes 65.3, 60 classes 59.3)",
        lacks="ADE20K, COCO-Stuff-10K, PASCAL-Context and a GPU",
        note="The review gives the 65.3 of 59 classes as that of 60.",
    ),
    Claim(
        "Thesis, tables 4.1 to 4.3",
        "The best with BEiTv2-L: ADE20K 58.2, COCO-Stuff-10K 53.46, PASCAL-Context 67.14 and 61.63",
        lacks="these data sets, the weights of BEiTv2-L and a GPU",
    ),
    Claim(
        "Review",
        "Three layers bring up to 1.7",
        (Ahead("segvit-fast-1000", "segvit-single-1000", 1.7),),
    ),
)

IN_STEPS = (
    Claim(
        "Thesis, section 4.3.6 and table 4.11",
        "SegViT-CL is ahead of MiB and PLOP on a ViT, over all classes (two tasks 49.1; 39.2, 38.0)",
        (Ahead("cl-12-12", "cl-12-12-mib", 9.9), Ahead("cl-12-12", "cl-12-12-plop", 11.1)),
        note="The baselines are one linear layer on the same ViT; theirs were DeepLabV3.",
    ),
    Claim(
        "Thesis, section 4.3.6 and table 4.11",
        "Also over six tasks (47.7; MiB 34.2, PLOP 36.3)",
        (Ahead("cl-12-2", "cl-12-2-mib", 13.5), Ahead("cl-12-2", "cl-12-2-plop", 11.5)),
        note="Seven tasks here.",
    ),
    Claim(
        "Thesis, table 4.11",
        "In two tasks it loses 2.2 points of the joint training's 51.28",
        (
            NotBehind("cl-12-12", "cl-joint", 2.2, -2.2),
            NotBehind("cl-12-12-order1", "cl-joint-order1", 2.2, -2.2),
        ),
    ),
    Claim(
        "Thesis, table 4.11",
        "In six tasks it loses 3.6 points of the joint training's 51.28",
        (
            NotBehind("cl-12-2", "cl-joint", 3.6, -3.6),
            NotBehind("cl-12-2-order1", "cl-joint-order1", 3.6, -3.6),
        ),
    ),
    Claim(
        "Thesis, section 4.3.6 and table 4.11",
        "Over six tasks it is almost free of forgetting: the first classes lose 0.3 of the joint training's",
        (
            NotBehind("cl-12-2", "cl-joint", 1.0, -0.3, "old"),
            NotBehind("cl-12-2-order1", "cl-joint-order1", 1.0, -0.3, "old"),
        ),
        note="Almost free is read as a point.",
    ),
    Claim(
        "Thesis, table 4.12",
        "Later tasks lose 0.45 of their first score on average",
        tuple(
            AtLeast(row, "later_kept", -1.0, -0.45)
            for row in ("cl-12-4", "cl-12-2", "cl-12-4-order1", "cl-12-2-order1")
        ),
        note="Nearly zero is read as a point.",
    ),
    Claim(
        "Thesis, section 4.3.6 and figure 4.8",
        "Nearly nothing of the first task is forgotten over eleven tasks",
        tuple(
            AtLeast(row, "kept", -1.0)
            for row in (
                "cl-12-12",
                "cl-12-4",
                "cl-12-2",
                "cl-12-12-order1",
                "cl-12-4-order1",
                "cl-12-2-order1",
            )
        ),
    ),
    Claim(
        "Thesis, section 4.3.6",
        "Methods that change old parameters forget much more over many tasks",
        (
            Ahead("cl-12-2", "cl-12-2-finetune", measure="kept"),
            Ahead("cl-12-2", "cl-12-2-mib", measure="kept"),
            Ahead("cl-12-2", "cl-12-2-plop", measure="kept"),
        ),
    ),
)

TABLE_5_5 = "Ours at a confidence of 0.95, theirs at 0.9."
DTOP = (
    Claim(
        "Thesis, section 5.3.3.1 and table 5.1",
        "Pruned and finetuned, nothing is lost (49.8, 49.7)",
        (NotBehind("dtop-topk", "dtop-control", COMPETITIVE, 0.1),),
        note="Beside the base model with as many iterations more.",
    ),
    Claim(
        "Thesis, table 5.1",
        "It saves about 20 % (86.8 of 109.9)",
        (Cheaper("dtop-topk", "dtop-base", 0.8, 0.79),),
        note="About is read as no less.",
    ),
    Claim(
        "Thesis, section 5.3.3.1 and table 5.1",
        "Pruning a model as it is loses accuracy (47.9, 49.7)",
        (Ahead("dtop-base", "dtop-direct", 1.8),),
    ),
    Claim(
        "Thesis, section 5.3.3.1 and table 5.1",
        "Retraining with pruning loses accuracy (49.1, 49.7)",
        (Ahead("dtop-base", "dtop-retrain", 0.6),),
    ),
    Claim(
        "Thesis, section 5.3.3.2 and table 5.2",
        "Accuracy saturates at a confidence of 0.95 (49.8, without pruning 49.7)",
        (NotBehind("dtop-topk", "dtop-topk@1.0", 0.5, 0.1),),
        note="Saturation is read as half a point.",
    ),
    Claim(
        "Thesis, table 5.2",
        "At lower confidence it falls: at 0.6 by 3.0, at 0.8 by 0.8",
        (Ahead("dtop-topk", "dtop-topk@0.6", 3.0), Ahead("dtop-topk", "dtop-topk@0.8", 0.8)),
    ),
    Claim(
        "Thesis, section 5.3.3.4 and table 5.5",
        "Top-k is ahead of the other rules by a large margin (49.5; remove 48.7, 35 % 48.7, average 48.9)",
        (
            Ahead("dtop-topk", "dtop-remove", 0.8),
            Ahead("dtop-topk", "dtop-share", 0.8),
            Ahead("dtop-topk", "dtop-average", 0.6),
        ),
        note=TABLE_5_5,
    ),
    Claim(
        "Thesis, section 5.3.3.4 and table 5.5",
        "Rules that uphold context are ahead of those that do not (average 48.9; remove and 35 % 48.7)",
        (Ahead("dtop-average", "dtop-remove", 0.2), Ahead("dtop-average", "dtop-share", 0.2)),
        note=TABLE_5_5,
    ),
    Claim(
        "Thesis, section 5.4.2 and table 5.8",
        "Symmetric down-sampling loses far more (49.8; convolution 44.8, average 44.4, nearest 46.1)",
        (
            Ahead("dtop-topk", "dtop-conv", 5.0),
            Ahead("dtop-topk", "dtop-average_pool", 5.4),
            Ahead("dtop-topk", "dtop-nearest", 3.7),
        ),
    ),
    Claim(
        "Thesis, section 5.3.3.2 and table 5.3",
        "On SETR's heads pruning at 0.98 loses nothing when finetuned (47.0, 47.0), and 0.4 as it is",
        (
            NotBehind("dtop-fcn-0.98", "dtop-fcn-1.0", COMPETITIVE, 0.0),
            NotBehind("dtop-fcn-direct", "dtop-fcn-base", COMPETITIVE, -0.4),
        ),
    ),
    Claim(
        "Thesis, tables 5.3 and 5.7",
        "It saves about 25 % on SETR's heads (80.6 of 107.7)",
        (Cheaper("dtop-fcn-0.98", "dtop-fcn-base", 0.75, 0.75),),
        note="About is read as no less.",
    ),
    Claim(
        "Thesis, tables 5.1 and 5.4",
        "10⁹ multiply-adds of the unpruned baseline: 109.9",
        (Stated(GMACS, DTOP_B, 109.9, "those of DToP's base model"),),
    ),
    Claim(
        "Thesis, section 5.3.3.3 and table 5.4",
        "Exits behind layers 6 and 8 are the best trade (49.8; one exit 49.4, three 48.3)",
        lacks="base models with other exits, which no row has",
    ),
    Claim(
        "Thesis, section 5.3.3.5 and table 5.6",
        "Exits of another kind than the last head lose (FCN behind ATM 48.4 of 49.6, ATM behind FCN 46.9 of 47.9)",
        lacks="base models of mixed heads, which no row has",
    ),
    Claim(
        "Thesis, section 5.3.4 and table 5.7",
        "On three data sets 20 to 35 % are saved without a notable loss",
        lacks="ADE20K, COCO-Stuff-10K, PASCAL-Context and a GPU",
    ),
    Claim(
        "Thesis, sections 5.3.4 and 5.4.1",
        "Simple images take less (by up to 57.7 %), complex ones nearly all",
        lacks="multiply-adds of every image, of which the files keep the mean",
    ),
    Claim(
        "Thesis, section 5.7",
        "A batch cannot be taken full advantage of: its images keep different numbers of tokens",
        lacks="a GPU",
        note="On a CPU, where all images lost as many tokens, a batch of 8 took 1.00 to 1.06 of the time of its images "
        "one by one (dtop_time.txt).",
    ),
)

DECODER = r"\s*│\s*([\d.]+)"
SECOND, THIRD = (rf"\s*(?:│[^│]*){{{n}}}│\s*([\d.]+)" for n in (1, 2))  # columns behind the name
NRD = (
    Claim(
        "Thesis, sections 3.1 and 3.3.1, table 3.1",
        "NRD is 0.9 ahead of DeepLabV3+'s decoder (79.8, 78.9)",
        (Ahead("nrd", "deeplab", 0.9),),
    ),
    Claim(
        "Thesis, sections 3.1 and 3.3.1, table 3.1",
        "Its boundaries are better: 1.8 on the trimap (51.6, 49.8)",
        (Ahead("nrd", "deeplab", 1.8, "trimap"),),
        note="The width of their trimap is not said.",
    ),
    Claim(
        "Thesis, section 3.3.1 and table 3.1",
        "Its decoder takes less than a third of DeepLabV3+'s multiply-adds (20.4, 76.4)",
        (
            StatedShare(
                "nrd_decoder_time.txt",
                "│ NRD " + SECOND,
                r"│ DeepLabV3\+ " + SECOND,
                "multiply-adds of the decoders of ResNet-50 behind the pyramid pooling",
                1 / 3,
                published=0.27,
            ),
        ),
        note="Theirs leave the pooling, which both have, to the encoder; with it the share is 0.49.",
    ),
    Claim(
        "Thesis, table 3.5",
        "It is faster than DeepLabV3+ (ResNet-101: 54 and 20 images a second)",
        (
            StatedShare(
                "nrd_decoder_time.txt",
                "│ NRD " + THIRD,
                r"│ DeepLabV3\+ " + THIRD,
                "time of the decoders",
                1.0,
                published=0.37,
            ),
        ),
        note="Decoders alone, both on an undilated encoder; theirs are whole models, DeepLabV3+ dilated.",
    ),
    Claim(
        "Thesis, section 3.3.1 and table 3.1",
        "Without its guidance map NRD is 3.5 ahead of the bilinear decoder (78.2, 74.7), 5.4 on the trimap",
        (
            Ahead("nrd-coordinates", "bilinear", 3.5),
            Ahead("nrd-coordinates", "bilinear", 5.4, "trimap"),
        ),
    ),
    Claim(
        "Thesis, table 3.1",
        "With it NRD is 5.1 ahead of the bilinear decoder (79.8, 74.7), 10.4 on the trimap",
        (Ahead("nrd", "bilinear", 5.1), Ahead("nrd", "bilinear", 10.4, "trimap")),
    ),
    Claim(
        "Thesis, section 3.3.1 and table 3.4",
        "The guidance map is what boundaries need: 51.5 on the trimap, 46.6 without",
        (Ahead("nrd", "nrd-coordinates", 4.9, "trimap"),),
    ),
    Claim(
        "Thesis, table 3.4",
        "Both inputs together are best: 79.8; coordinates 78.2, guidance 78.3",
        (Ahead("nrd", "nrd-coordinates", 1.6), Ahead("nrd", "nrd-guidance", 1.5)),
    ),
    Claim(
        "Thesis, table 3.2",
        "NRD is ahead of CARAFE (75.0, 72.1) at as much computation (203.2, 203.0), and of DUC (74.7) at less (336.1)",
        lacks="rows of CARAFE and DUC, which the study does not have",
    ),
    Claim(
        "Thesis, table 3.3",
        "The numbers of channels matter little (79.0 to 79.8)",
        lacks="rows of other widths, which the study does not have",
    ),
    Claim(
        "Thesis, table 3.9",
        "On MiT backbones NRD is ahead of SegFormer's decoder at less computation (B2: 46.8, 46.5; 24.5, 62.4)",
        lacks="pretrained MiT backbones, ADE20K and a GPU",
    ),
    Claim(
        "Thesis, tables 3.5 to 3.8",
        "Level with dilated encoders at a third of the cost: ADE20K 46.09, PASCAL-Context 54.1, Cityscapes 80.7",
        lacks="ADE20K, PASCAL-Context, Cityscapes, pretrained ResNets and a GPU",
    ),
)

SEMASK = (
    Claim(
        "SeMask, abstract",
        "Semantic attention in a pretrained hierarchical encoder improves it considerably",
        lacks="a pretrained Swin",
        note="From random weights, which the claim is not about, `semask` is behind `fpn`: the table above.",
    ),
    Claim(
        "SeMask, abstract",
        "At a slight increase in FLOPs",
        (
            Cheaper("semask", "fpn", 1.1),
            StatedShare(
                "semask_time.txt",
                "│ SeMask-T " + DECODER,
                "│ Swin-T " + r"\s*│\s*([\d.]+) │\s*1\.000",
                "multiply-adds of SeMask-T over Swin-T, 512 × 512, 150 classes",
                1.1,
            ),
        ),
        note="Slight is read as a tenth.",
    ),
    Claim(
        "SeMask, abstract",
        "58.22 on ADE20K, and more than 3 better on Cityscapes",
        lacks="ADE20K, Cityscapes, pretrained Swin backbones and a GPU",
    ),
    Claim(
        "SeMask, abstract",
        "With every variant of Swin and with different decoders",
        lacks="pretrained Swin backbones and rows of other decoders",
    ),
)

SETR = (
    Claim(
        "SETR, table 2",
        "PUP is the best decoder on Cityscapes (78.39; Naive 77.37, MLA 76.65)",
        (Ahead("setr-pup-1000", "setr-1000", 1.0), Ahead("setr-pup-1000", "setr-mla-1000", 1.7)),
    ),
    Claim(
        "SETR, table 4",
        "MLA is the best decoder on ADE20K (48.64; PUP 48.58, Naive 48.06)",
        (Ahead("setr-mla-1000", "setr-pup-1000", 0.1), Ahead("setr-mla-1000", "setr-1000", 0.6)),
        note="CamVid is like Cityscapes, where they found PUP ahead.",
    ),
    Claim(
        "SETR, table 2",
        "Pretraining is needed: from random weights 42.27 instead of 78.39",
        (Ahead("setr-1000", "setr-scratch-1000", 36.1),),
        note="Theirs of PUP, ours of Naive.",
    ),
    Claim(
        "SETR, table 2",
        "Longer training gains (Naive 77.37 and 77.90 after 40,000 and 80,000 iterations)",
        (Ahead("setr-3000", "setr-1000", 0.5),),
    ),
    Claim(
        "SETR, table 3",
        "A transformer encoder is ahead of a dilated ResNet-101 with FCN, both pretrained on ImageNet-21K "
        "(Cityscapes 78.39, 76.38)",
        lacks="a pretrained ResNet",
    ),
)

CLAIMS: dict[str, tuple[Claim, ...]] = {
    "SegViT and Shrunk": SEGVIT,
    "Classes in steps": IN_STEPS,
    "Token pruning": DTOP,
    "NRD": NRD,
    "SeMask": SEMASK,
    "SETR": SETR,
    "Our own": (
        Claim(
            "Ours, docs/results.md",
            "The fast start is ahead of the published one",
            (Ahead("segvit-fast-{}", "segvit-{}"),),
        ),
        Claim(
            "Ours, docs/results.md",
            "SegViT with joint queries is ahead of EoMT-style (65.2, 63.9 after 1,000 iterations)",
            (Ahead("joint-{}", "eomt-{}"),),
        ),
        Claim(
            "Ours, docs/results.md",
            "EoMT-style is ahead of every head behind the backbone that has as many seeds (SETR-Naive 61.0, 63.6)",
            tuple(
                Ahead("eomt-{}", f"{other}-{{}}")
                for other in ("setr", "segmenter", "segvit-fast", "segvit", "linear")
            ),
        ),
    ),
}
