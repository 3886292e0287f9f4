//! Values to bytes and back, outside any transport
