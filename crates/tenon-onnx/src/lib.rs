//! ONNX models through ONNX Runtime, a shared library loaded at start
