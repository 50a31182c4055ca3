//! `docs/performance.md`: the table of a report between its two marks, and its plots beside it.
use crate::report::Report;
use anyhow::{Context, Result};
use countersign_test_kit::project::root;
use std::{fmt::Write as _, fs};

const BEGIN: &str = "<!-- begin: cargo xtask bench --docs -->\n";
const END: &str = "<!-- end -->\n";

/// Replaces what an earlier report has put there.
pub(crate) fn write(report: &Report) -> Result<()> {
    let page = root().join("docs/performance.md");
    let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.with_context(|| format!("{} has lost its marks", page.display()))?;
    let mut inside = report.table();
    let folder = root().join("docs/performance");
    fs::create_dir_all(&folder)?;
    for plot in &report.plots {
        let file = folder.join(format!("{}.svg", plot.name));
        fs::write(&file, plot.svg()).with_context(|| file.display().to_string())?;
        let _ = writeln!(inside, "\n![{}](performance/{}.svg)", plot.title, plot.name);
    }
    fs::write(&page, format!("{before}{BEGIN}\n{inside}\n{END}{after}"))?;
    println!("{}", page.display());
    Ok(())
}
