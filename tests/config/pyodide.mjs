// Run train.py in CPython 3.14 compiled to WebAssembly: node pyodide.mjs PYODIDE PROJECT PATH[:PATH...] ARGUMENT...
const [pyodide, project, paths, ...words] = process.argv.slice(2);
const { loadPyodide } = await import(`${pyodide}/pyodide.mjs`);
const python = await loadPyodide();
const mounted = [project, ...paths.split(":")];
for (const directory of mounted) {
  python.FS.mkdirTree(directory);
  python.mountNodeFS(directory, directory);
}
python.FS.chdir(project);
python.globals.set("words", python.toPy(words));
python.globals.set("paths", python.toPy([...mounted.slice(1), `${project}/src`]));
process.exitCode = python.runPython(`
import runpy, sys
assert sys.version_info[:2] == (3, 14)
sys.argv, sys.path[:0] = ["train.py", *words], paths
try:
    runpy.run_path("train.py", run_name="__main__")
except SystemExit as error:
    if isinstance(error.code, str):
        print(error.code, file=sys.stderr)
    status = 1 if isinstance(error.code, str) else error.code
else:
    status = 0
status or 0
`);
