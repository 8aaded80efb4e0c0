import sys

from research.pipeline.stages import main

sys.exit(main())
