//! The control plane without HTTP: onboarding, promotion, permits and jobs
