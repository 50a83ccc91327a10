//! `[[hook]]` and the variables that make hooks.

use super::*;
use crate::engine::rules::Selector;

fn glob(text: &str) -> Option<glob::Pattern> {
    Some(glob::Pattern::new(text).unwrap())
}

#[test]
fn a_hook_is_told_of_all_unless_it_says_otherwise() {
    let text = "[[hook]]\nname = \"a\"\ntype = \"discovery\"\nurl = \"http://r:8500\"\n\
                [[hook]]\nname = \"b\"\ntype = \"http\"\nurl = \"http://x\"\n\
                events = [\"unhealthy\"]\ncontainers = [\"web-*\", \"db\"]\nimages = \"nginx:*\"\n\
                labels = { \"com.example.tier\" = \"front*\" }\n\
                [[hook]]\nname = \"c\"\ntype = \"http\"\nurl = \"http://x\"";
    let made = load(text, &[]).unwrap();
    let rule = |n: usize| &made.config.hooks[n].rule;
    use Transition::{Died, Removed, Started, Stopped};
    assert!(rule(0).events.iter().eq(&[Started, Stopped, Died, Removed]));
    assert_eq!((&rule(0).who[..], &*rule(0).kind, &*rule(0).name), (&[][..], "discovery", "a"));
    assert!(rule(1).events.iter().eq(&[Transition::Unhealthy]));
    assert!(rule(2).events.iter().eq(Transition::ALL));
    let labels = [("com.example.tier".to_owned(), glob("front*").unwrap())];
    let of =
        |name| Selector { name: glob(name), image: glob("nginx:*"), labels: labels.clone().into() };
    assert_eq!(rule(1).who, [of("web-*"), of("db")]);
}

#[test]
fn another_address_is_another_receiver() {
    for (kind, url) in
        [("discovery", "http://r"), ("billing", "http://r"), ("http", "http://r/{{ host }}")]
    {
        let receiver = |url: &str| {
            let text = format!("[[hook]]\nname = \"a\"\ntype = \"{kind}\"\nurl = \"{url}\"");
            load(&text, &[]).unwrap().config.hooks[0].rule.receiver.clone()
        };
        let first = receiver(url);
        assert_eq!(first.len(), 16, "{first} shows nothing of a secret");
        assert_eq!(receiver(url), first);
        assert_ne!(receiver(&url.replace("//r", "//other")), first, "{kind}");
    }
}

#[test]
fn each_variable_alone_makes_its_hook() {
    let discovery = ("DISCOVERY_SERVICE_URL", " http://registry:8500 ");
    let billing = ("BILLING_SERVICE_URL", "https://billing/events");
    let names = |made: &Made| made.hooks.iter().map(|h| h.name().to_string()).collect::<Vec<_>>();
    for (variables, wanted) in [
        (vec![discovery], vec!["discovery"]),
        (vec![billing], vec!["billing"]),
        (vec![discovery, billing], vec!["discovery", "billing"]),
        (vec![("DISCOVERY_SERVICE_URL", "")], vec![]),
    ] {
        let made = load("", &variables).unwrap();
        assert_eq!(names(&made), wanted);
        assert_eq!(made.config.warnings.to_string(), "");
    }
    // It lies over the file's.
    let text = "[[hook]]\nname = \"discovery\"\ntype = \"discovery\"\nurl = \"http://old\"\nevents = [\"started\"]";
    let made = load(text, &[discovery]).unwrap();
    assert_eq!(names(&made), ["discovery"]);
    assert!(made.config.hooks[0].rule.events.iter().eq(&[Transition::Started]));
}

#[test]
fn a_variable_that_is_wrong_is_left_out_with_a_warning() {
    for url in [
        "registry:8500",
        "ftp://registry",
        "http://",
        "http://a b",
        "http://[::1",
        "http://x:99999",
    ] {
        let made = load("", &[("DISCOVERY_SERVICE_URL", url)]).unwrap();
        assert_eq!(made.hooks.len(), 0, "{url}");
        let said = made.config.warnings.to_string();
        assert!(said.contains("DISCOVERY_SERVICE_URL: warning: "), "{url}: {said}");
        assert!(said.contains("the variable is left out"), "{url}: {said}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_an_error() {
    let hook = |more: &str| format!("[[hook]]\nname = \"a\"\n{more}");
    let typed = |kind: &str, more: &str| hook(&format!("type = \"{kind}\"\n{more}"));
    for (text, wanted) in [
        ("[[hook]]".into(), "[[hook]] needs the key `name`"),
        (hook(""), "[[hook]] needs the key `type`"),
        (typed("registry", ""), "there is no hook type \"registry\""),
        (typed("discovery", ""), "[[hook]] needs the key `url`"),
        (typed("discovery", "url = \"registry:8500\""), "must start with https:// or http://"),
        (
            typed("billing", "url = \"http://x\"\nevents = [\"healthy\"]"),
            "a hook of the type billing cannot tell that healthy",
        ),
        (typed("billing", "url = \"http://x\"\nevents = [\"start\"]"), "did you mean `started`?"),
        (typed("billing", "url = \"http://x\"\nevents = []"), "`hook.events` is an empty list"),
        (
            typed("billing", "url = \"http://x\"\nmethod = \"PUT\""),
            "unknown key `method` in [[hook]]",
        ),
        (typed("billing", "url = \"http://x\"\ntimeout = \"2m\""), "`hook.timeout`"),
        (
            typed("billing", "url = \"http://x\"\ncontainers = [\"a[\"]"),
            "`hook.containers`: not a valid pattern",
        ),
        (
            typed("billing", "url = \"http://x\"\nlabels = { a = \"[\" }"),
            "`hook.labels.a`: not a valid pattern",
        ),
        (
            typed("billing", "url = \"http://x\"\nheaders = { Host = \"y\" }"),
            "the header 'Host' is set by keepwell itself",
        ),
        (
            typed(
                "billing",
                "url = \"http://x\"\ntoken = \"a\"\nheaders = { authorization = \"y\" }",
            ),
            "exclude each other",
        ),
        (
            typed("billing", "url = \"http://x\"\ntoken = \"a\\nb\""),
            "`token` has characters that no header can hold",
        ),
        (typed("http", "url = \"http://{{ host }}/x\""), "the host cannot be a template"),
        (typed("http", "url = \"http://x/{{ nothing }}\""), "there is no variable `nothing`"),
        (typed("http", "url = \"http://x/{{ container.colour }}\""), "there is no such value"),
        (typed("http", "url = \"http://x/{{ container.colour }}\""), "hint: there are: container,"),
        (typed("http", "url = \"http://x/a/../b\""), "\"..\" cannot be a part of its path"),
        (
            typed("http", "url = \"http://x/\"\ntemplate = { body = \"{{ container.name }}\" }"),
            "what it makes is not JSON",
        ),
        (
            typed("http", "url = \"http://x/\"\nmethod = \"GET\"\ntemplate = { body = \"1\" }"),
            "the method GET has no body",
        ),
        (
            format!(
                "{}\n{}",
                typed("billing", "url = \"http://x\""),
                typed("billing", "url = \"http://y\"")
            ),
            "the hook `a` is there already",
        ),
    ] {
        let said = load(&text, &[]).err().unwrap_or_else(|| panic!("{text} is accepted"));
        assert!(said.contains(wanted), "{text}\n{said}");
    }
}
