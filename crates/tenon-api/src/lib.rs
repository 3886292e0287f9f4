//! The wires of Tenon: HTTP routes, access, and the one table from fault to status
