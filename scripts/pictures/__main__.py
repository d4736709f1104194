"""`make reference`: draw the pictures. A test says whether they are those that would be drawn now."""

from scripts.pictures import FOLDER, PICTURES

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (FOLDER / name).write_text(draw(), "utf-8")
