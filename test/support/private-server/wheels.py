"""Writes wheels into the indexes of the private server: folders that a web server lists are an index."""

import pathlib
import zipfile


def wheel(index, name, version, requires=()):
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    headers = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        "Provides-Extra: fast",
        *(f"Requires-Dist: {line}" for line in requires),
    ]
    files = {
        f"{module}.py": f'VERSION = "{version}"\n',
        f"{info}/METADATA": "\n".join(headers) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder = pathlib.Path("/srv/www", index, name)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


for version in ["1.0", "1.5", "2.0"]:
    wheel("simple", "demo-lib", version, ['demo-gpu>=1.0; extra == "fast"'])
wheel("simple", "demo-gpu", "1.0")
wheel("simple", "poetry", "1.7.1")
wheel("members", "secret-lib", "1.0")
