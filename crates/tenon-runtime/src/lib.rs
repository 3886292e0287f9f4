//! The seam for engines: runtimes, models, sessions and the suite each runtime passes
