//! Disks and stores that fail, and what the disk was asked to keep before each acknowledgement.
mod disk;
mod flaky;
mod order;

use super::Run;
use anyhow::Result;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    disk::run(run)?;
    flaky::run(run)?;
    order::run(run)
}
