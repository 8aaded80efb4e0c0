import sys

try:
    from research.pipeline.stages import main
except KeyboardInterrupt:  # the imports take seconds
    sys.exit("interrupted before the first stage")

sys.exit(main())
