//! Stories told over a real listener, with toy models behind the wires.

mod access;
mod administration;
mod fuzz;
mod house;
mod inference;
mod limits;
mod operation;
mod references;
mod repository;
