//! Facts: models, versions, services, jobs and the heads of receipt chains
