use super::*;

/// A CA with these profiles.
fn offering(
    profiles: &'static [&'static str],
) -> impl Fn(&Received, &str) -> Reply + Send + Sync + 'static {
    but("GET /directory", move |request, base| {
        let Reply::Answer { body, .. } = usual(request, base) else {
            panic!("the usual directory")
        };
        let mut directory: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let each = profiles.iter().map(|name| (*name, "…"));
        directory["meta"]["profiles"] = each
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .collect();
        Reply::json(200, &directory)
    })
}

/// Which profile is asked for, or why none.
async fn asked(
    profiles: &'static [&'static str],
    profile: Option<&str>,
    name: &str,
) -> Result<serde_json::Value, OrderError> {
    let (fake, account) = account(offering(profiles)).await;
    let options = OrderOptions {
        profile: profile.map(str::to_owned),
        ..OrderOptions::default()
    };
    let names = [name.parse().unwrap()];
    let checked = Order::check(&account, &names, &options).await;
    assert!(!fake.lines().contains(&"POST /new-order".to_owned()));
    let placed = Order::place(&account, &names, &options).await;
    assert_eq!(checked.is_ok(), placed.is_ok());
    placed?;
    let sent = fake.received().pop().unwrap().payload();
    Ok(sent["profile"].clone())
}

#[tokio::test]
async fn a_profile_is_asked_for_only_where_one_is_wanted() {
    let both = &["classic", "shortlived"];
    assert_eq!(asked(both, None, "a.example").await.unwrap(), json!(null));
    assert_eq!(
        asked(both, Some("classic"), "a.example").await.unwrap(),
        "classic"
    );
    assert_eq!(asked(&[], None, "192.0.2.1").await.unwrap(), json!(null));
}

#[tokio::test]
async fn an_address_gets_the_profile_for_addresses_unless_another_is_asked_for() {
    let both = &["classic", "shortlived"];
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(asked(both, None, address).await.unwrap(), "shortlived");
    }
    assert_eq!(
        asked(both, Some("classic"), "192.0.2.1").await.unwrap(),
        "classic"
    );
}

#[tokio::test]
async fn what_the_ca_has_is_named_where_what_is_wanted_is_missing() {
    let few = &["classic", "tlsserver"];
    let unknown = asked(few, Some("shortlived"), "a.example").await;
    let error = unknown.unwrap_err();
    assert!(error.is_final());
    assert!(error.to_string().contains("classic, tlsserver"), "{error}");
    let error = asked(few, None, "192.0.2.1").await.unwrap_err();
    assert!(matches!(error, OrderError::ProfileNeeded { .. }), "{error}");
    assert!(error.is_final());
    assert!(error.to_string().contains("classic, tlsserver"), "{error}");
    assert!(
        error.next_step().contains("profile"),
        "{}",
        error.next_step()
    );
}
