"""Small fake data sets, drawn from numbers, in the layouts that users have."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image

FER_NAMES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
VOTE_NAMES = "neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
USAGES = ("Training", "PublicTest", "PrivateTest")


def write(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(
        content, encoding="utf-8"
    )
    return path


def picture(path, number, size=12, mode="RGB"):
    """An image whose pixels follow from ``number`` alone."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size, size, 3) if mode == "RGB" else (size, size)
    Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)).save(
        path
    )
    return path


def rafdb(root, labels=(1, 2, 3, 4, 5, 6, 7, 4, 4), test=(4, 7, 1), size=12):
    """The official tree; returns the text of its list."""
    lines = [f"train_{i:05d}.jpg {label}" for i, label in enumerate(labels, 1)]
    lines += [f"test_{i:04d}.jpg {label}" for i, label in enumerate(test, 1)]
    for number, line in enumerate(lines):
        picture(
            root / "Image/aligned" / line.split()[0].replace(".jpg", "_aligned.jpg"), number, size
        )
    write(root / "EmoLabel/list_patition_label.txt", "\n".join(lines) + "\n")
    return "\n".join(lines) + "\n"


def rafdb_tree(root, listing):
    """The ``DATASET/train/1..7`` tree of the same images, with its csv files."""
    for split in ("train", "test"):
        rows = [line.split() for line in listing.splitlines() if line.startswith(split)]
        names = [(name.replace(".jpg", "_aligned.jpg"), label) for name, label in rows]
        for name, label in names:
            picture(root / "DATASET" / split / label / name, len(name))
        write(
            root / f"DATASET/{split}_labels.csv",
            "image,label\n" + "".join(f"{n},{k}\n" for n, k in names),
        )


def fer_pixels(number):
    return " ".join(map(str, np.random.default_rng(number).integers(0, 256, 2304)))


def fer2013(root, labels, usages, numbers=None, form="csv"):
    """FER2013's csv in one of its forms; image i is ``fer_pixels(numbers[i])``."""
    rows = zip(
        labels, [fer_pixels(i) for i in (numbers or range(len(labels)))], usages, strict=True
    )
    if form == "icml":
        text = "emotion, Usage, pixels\n" + "".join(f"{e}, {u}, {p}\n" for e, p, u in rows)
        return write(root / "icml_face_data.csv", text)
    text = "emotion,pixels,Usage\n" + "".join(f"{e},{p},{u}\n" for e, p, u in rows)
    if form == "gz":
        return write(root / "fer2013.csv.gz", gzip.compress(text.encode()))
    return write(root / "fer2013.csv", text)


def votes(root, ballots, usages, blank=()):
    """``fer2013new.csv`` with one string such as "4,0,0,1,3,2,0,0,0,0" for each row."""
    names = ["" if i in blank else f"fer{i:07d}.png" for i in range(len(ballots))]
    rows = zip(usages, names, ballots, strict=True)
    return write(
        root / "fer2013new.csv",
        f"Usage,Image name,{VOTE_NAMES}\n" + "".join(f"{u},{n},{b}\n" for u, n, b in rows),
    )


def ferplus_folders(root, ballots, usages, numbers=None):
    """Microsoft's folders of png files with a headerless ``label.csv``."""
    folders = dict(zip(USAGES, ("FER2013Train", "FER2013Valid", "FER2013Test"), strict=True))
    for usage, folder in folders.items():
        lines = []
        for i, (ballot, its) in enumerate(zip(ballots, usages, strict=True)):
            if its == usage:
                picture(
                    root / folder / f"fer{i:07d}.png", (numbers or range(len(ballots)))[i], 48, "L"
                )
                lines.append(f'fer{i:07d}.png,"(0, 0, 48, 48)",{ballot}\n')
        if lines:
            write(root / folder / "label.csv", "".join(lines))


AFFECTNET_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
    "expression,valence,arousal"
)


def affectnet(root, layout, train=(0, 1, 2, 3, 4, 5, 6, 7, 1), val=(3, 7, 0)):
    """AffectNet as the ``lists``, the ``arrays`` or the ``plain`` csv."""
    for split, labels in (("train", train), ("val", val)):
        rows = []
        for i, label in enumerate(labels):
            if layout == "arrays":
                picture(root / f"{split}_set/images/{i}.jpg", i)
                (root / f"{split}_set/annotations").mkdir(parents=True, exist_ok=True)
                np.save(root / f"{split}_set/annotations/{i}_exp.npy", str(label))
            elif layout == "lists":
                picture(root / f"Manually_Annotated_Images/{i}/{split}.jpg", i, 40)
                rows.append(f"{i}/{split}.jpg,5,6,20,10,1;2,{label},0.1,-0.2\n")
            else:
                picture(root / f"{split}/{i}.jpg", i)
                rows.append(f"{split}/{i}.jpg,{label}\n")
        if layout == "lists":
            name = {"train": "training", "val": "validation"}[split]
            header = (
                AFFECTNET_HEADER + "\n" if split == "train" else ""
            )  # the second comes without, as in the wild
            write(root / f"Manually_Annotated_file_lists/{name}.csv", header + "".join(rows))
        elif layout == "plain":
            write(root / f"affectnet_{split}.csv", "path,expression\n" + "".join(rows))
