cd /tmp/w15; PYTHONPATH=/tmp/w15 OMP_NUM_THREADS=1 /work/main/.venv/bin/python -m pytest -q -x --no-header -p no:cacheprovider "$@"
