//! Measures what a request is made of: `cargo xtask bench --primitives`. Time by criterion, which a busy machine
//! disturbs, and beside it the instructions of the same functions, which nothing disturbs.
//!
//! # Modules
//!
//! [`pieces`]: tokens, seals, time steps, stores · [`decisions`]: each factor's, in the real library · [`desk`]: the kernel
//! that a decision is asked with · [`instructions`]: the counter · [`table`]: what is said of it
#![forbid(unsafe_code)]

mod decisions;
mod desk;
mod instructions;
mod pieces;
mod table;

use anyhow::Result;
use criterion::{Criterion, measurement::Measurement};
use instructions::Instructions;
use std::{path::PathBuf, time::Duration};

fn main() -> Result<()> {
    let place = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "target/primitives".into()));
    let (time, count) = (place.join("time"), place.join("instructions"));
    all(&mut Criterion::default().output_directory(&time))?;
    match Instructions::new() {
        Ok(counter) => {
            let counted = Criterion::default().with_measurement(counter).output_directory(&count);
            // The same number each time: little is enough.
            let counted = counted.sample_size(10).warm_up_time(Duration::from_millis(100));
            all(&mut counted.measurement_time(Duration::from_millis(200)))?;
        }
        Err(error) => eprintln!("no instructions are counted: {error}"),
    }
    table::print(&time, &count)
}

fn all<M: Measurement>(criterion: &mut Criterion<M>) -> Result<()> {
    pieces::all(criterion)?;
    decisions::all(criterion)
}
