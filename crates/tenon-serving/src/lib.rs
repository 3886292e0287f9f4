//! The data plane without a protocol: generations, routing, execution, swap, drain and receipts
