//! Proves that the simulation notices when the protocol is broken.
//!
//! Owns trying each mutant on seed after seed, until one fails.

use std::process::ExitCode;

use anyhow::Result;

use crate::Options;

/// Tries every mutant; fails when one gets through all seeds.
#[cfg(feature = "mutants")]
pub fn prove(options: &Options) -> Result<ExitCode> {
    use std::io::Write as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use stockstream_core::mutants::{Mutant, break_protocol};
    use stockstream_simulation::run;

    let next = AtomicUsize::new(0);
    let survivors = AtomicUsize::new(0);
    let wanted = |mutant: &Mutant| {
        let name = format!("{mutant:?}");
        options.mutant.as_ref().is_none_or(|wanted| *wanted == name)
    };
    let all: Vec<Mutant> = Mutant::ALL.into_iter().filter(wanted).collect();
    let prove_all = || {
        while let Some(mutant) = all.get(next.fetch_add(1, Ordering::SeqCst)) {
            break_protocol(Some(*mutant));
            let caught = (options.from..options.from + options.seeds).find_map(|seed| {
                let report = run(seed, false).ok()?;
                let fault = report.faults.into_iter().next()?;
                Some((seed, fault))
            });
            break_protocol(None);
            let mut out = std::io::stdout().lock();
            let _ = match caught {
                Some((seed, fault)) => writeln!(out, "{mutant:?}: caught by seed {seed}: {fault}"),
                None => {
                    survivors.fetch_add(1, Ordering::SeqCst);
                    writeln!(out, "{mutant:?}: SURVIVED {} seeds", options.seeds)
                }
            };
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(prove_all);
        }
    });
    Ok(crate::code(survivors.load(Ordering::SeqCst) == 0))
}

/// Breaks the protocol on this thread.
#[cfg(feature = "mutants")]
pub fn choose(name: &str) -> Result<()> {
    use anyhow::Context;
    use stockstream_core::mutants::{Mutant, break_protocol};

    let mutant = Mutant::ALL
        .into_iter()
        .find(|mutant| format!("{mutant:?}") == name);
    break_protocol(Some(
        mutant.with_context(|| format!("no mutant is named {name:?}"))?,
    ));
    Ok(())
}

/// There are no mutants in this build.
#[cfg(not(feature = "mutants"))]
pub fn prove(_: &Options) -> Result<ExitCode> {
    choose("any")?;
    Ok(ExitCode::FAILURE)
}

/// There are no mutants in this build.
#[cfg(not(feature = "mutants"))]
pub fn choose(name: &str) -> Result<()> {
    anyhow::bail!("there is no mutant {name:?} in this build: use make sim-mutants")
}
