//! What the command line makes of its arguments.

use super::*;

/// The settings of `hearth eval clips` with this argument; none without `--ends`.
fn ends(argument: &str) -> Result<Option<Vec<String>>, String> {
    let arguments = ["hearth", "eval", "clips"].into_iter().chain(argument.split_whitespace());
    let args = Args::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let Verb::Eval { dir, ends, .. } = args.verb else { panic!("{argument}") };
    assert_eq!(dir, Path::new("clips"));
    Ok(ends.map(|settings| settings.iter().map(ToString::to_string).collect()))
}

#[test]
fn silences_are_read_one_by_one_and_only_as_the_configuration_would_take_them() {
    let check = |argument: &str, expected: &[&str]| {
        let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
        assert_eq!(ends(argument), Ok(Some(expected)), "{argument}");
    };
    assert_eq!(ends(""), Ok(None));
    check("--ends=-/700/-", &["-/700/-"]);
    check("--ends=400/700/1200,-/500/-", &["400/700/1200", "-/500/-"]);
    check("--ends=-/700/- --json", &["-/700/-"]);
    // By itself: the usual ones, the default of the configuration first.
    let usual = ends("--ends").expect("it is read").expect("it is asked for");
    assert!(usual.len() > 2 && usual[0] == "-/700/-", "{usual:?}");
    for (argument, expected) in [
        ("--ends=700", "should be like -/700/-"),
        ("--ends=249/700/-", "should be like -/700/-"),
        ("--ends=-/700/-,800/700/-", "should be like -/700/-"),
        ("--ends --streamed", "cannot be used with"),
        ("--ends --processed", "cannot be used with"),
        // What stands after a space is another folder.
        ("--ends -/700/-", "unexpected argument"),
    ] {
        let error = ends(argument).expect_err(argument);
        assert!(error.contains(expected), "{argument}: {error}");
    }
}
