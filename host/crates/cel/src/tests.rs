//! What the functions give, what is refused, and what runs out.

use serde_json::{Value, json};

use super::*;

fn evaluate(text: &str) -> Result<Value, String> {
    let object = json!({
        "metadata": {"name": "a", "labels": {"x": "1"}}, "spec": {"replicas": 3}, "text": "y".repeat(1000), "many": (0..1000).collect::<Vec<_>>(),
    });
    let variables = Variables::new().with("object", &object).with("oldObject", &Value::Null);
    Expression::compile(text)?.evaluate(&variables)
}

fn all_true(expressions: &[&str]) {
    for text in expressions {
        assert_eq!(evaluate(text), Ok(json!(true)), "{text}");
    }
}

/// Expressions, and a part of what they fail with.
fn all_fail(expressions: &[(&str, &str)]) {
    for (text, why) in expressions {
        match evaluate(text) {
            Err(said) if said.contains(why) => {}
            other => panic!("{text}: {other:?}, not {why:?}"),
        }
    }
}

#[test]
fn expressions_over_objects() {
    assert_eq!(evaluate("object.metadata.name != 'skip-me'"), Ok(json!(true)));
    assert_eq!(evaluate("object.spec.replicas + 1 <= 4 && oldObject == null"), Ok(json!(true)));
    assert_eq!(evaluate("has(object.metadata.annotations)"), Ok(json!(false)));
    assert_eq!(evaluate("object.metadata.labels.all(k, k.startsWith('x'))"), Ok(json!(true)));
    assert!(evaluate("object.spec.none > 1").is_err());
    assert!(Expression::compile("... [] bad expression").is_err());
    assert_eq!(evaluate("Object{spec: Object.spec{replicas: object.spec.replicas * 2}}"), Ok(json!({"spec": {"replicas": 6}})));
    assert_eq!(evaluate("[JSONPatch{op: 'add', path: '/x', value: [1]}]"), Ok(json!([{"op": "add", "path": "/x", "value": [1]}])));
    assert!(Expression::compile("1 + 1").unwrap().is_true(&Variables::new()).is_err());
    assert_eq!(evaluate("object.?spec.?none.orValue(5) + [1, 2].map(x, x * 2)[1]"), Ok(json!(9)));
    assert_eq!(evaluate("[1, 2, 3, 4].filter(x, x % 2 == 0).map(x, x > 2, x * 10)"), Ok(json!([40])));
    all_true(&["[1, 2].exists_one(x, x == 2)", "'abc'.matches('^a.c$') && !matches('abc', 'b$')", "[3, 1, 2].sortBy(x, -x) == [3, 2, 1]"]);
    all_true(&["duration('1h') + duration('30m') == duration('90m')", "1 in [1, 2] && 'a' in {'a': 1} && !('b' in {'a': 1})"]);
    all_true(&["'a,b'.split(',') == ['a', 'b'] && ['a', 'b'].join('-') == 'a-b' && 'a %s'.format(['b']) == 'a b'"]);
}

#[test]
fn urls() {
    all_true(&[
        "url('https://example.com:80/').getHost() == 'example.com:80' && url('https://example.com/').getHost() == 'example.com'",
        "url('https://[::1]:80/').getHost() == '[::1]:80' && url('https://[::1]/').getHost() == '[::1]' && url('/path').getHost() == ''",
        "url('https://example.com:80/').getHostname() == 'example.com' && url('https://127.0.0.1/').getHostname() == '127.0.0.1'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('/path').getHostname() == ''",
        "url('https://[::1]:80/').getPort() == '80' && url('https://[::1]/').getPort() == '' && url('/path').getPort() == ''",
        "url('HTTPS://example.com/').getScheme() == 'https' && url('/path').getScheme() == ''",
        "url('https://example.com/with space/').getEscapedPath() == '/with%20space/' && url('https://example.com').getEscapedPath() == ''",
        "url('https://example.com/path?k1=a&k2=b&k2=c').getQuery() == {'k1': ['a'], 'k2': ['b', 'c']}",
        "url('https://example.com/path?key with spaces=value with spaces').getQuery() == {'key with spaces': ['value with spaces']}",
        "url('https://example.com/path?').getQuery() == {} && url('/path#f?a').getQuery() == {}",
        "isURL('https://user:pass@example.com:80/path?query=val#fragment') && isURL('/path') && isURL('mailto:a@b')",
        "!isURL('https://a:b:c/') && !isURL('../relative-path') && !isURL('') && !isURL('http://a b/') && !isURL('/%zz') && !isURL(':x')",
        "url('https://a/?b') == url('https://a/?b') && url('https://a/') != url('https://b/')",
    ]);
    all_fail(&[("url('../relative-path').getHost()", "URL parse error during conversion from string")]);
}

#[test]
fn regular_expressions() {
    all_true(&[
        "'this is a 123 string 456'.find('[0-9]+') == '123' && 'none'.find('[0-9]+') == ''",
        "'123 abc 456'.findAll('[0-9]+') == ['123', '456'] && '1 2 3'.findAll('[0-9]', 2) == ['1', '2'] && '1 2'.findAll('[0-9]', 0) == []",
        "'aba'.findAll('x') == [] && '1 2'.findAll('[0-9]', -1).size() == 2",
    ]);
    all_fail(&[("object.metadata.name.matches(object.metadata.name + '(')", "missing closing )"), ("'a'.matches('(')", "invalid matches argument")]);
    all_fail(&[("'a'.find('a{1000}{1000}{10}')", "invalid matches argument")]);
}

#[test]
fn lists_and_sets() {
    all_true(&[
        "[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted() && [false, true].isSorted()",
        "[1, 3].sum() == 4 && [1.0, 3.0].sum() == 4.0 && [].sum() == 0 && [duration('1m'), duration('1s')].sum() == duration('61s')",
        "[1, 3].min() == 1 && ['a', 'b'].max() == 'b' && [duration('1m'), duration('1s')].max() == duration('1m')",
        "[1, 2, 2, 3].indexOf(2) == 1 && [1, 2, 2, 3].lastIndexOf(2) == 2 && [1].indexOf(2) == -1 && 'abab'.lastIndexOf('ab') == 2",
        "[1, 2].first().value() == 1 && [1, 2].last() == optional.of(2) && ![].first().hasValue() && [].last().orValue(3) == 3",
        "[optional.of(1), optional.none()].unwrapOpt() == [1] && optional.unwrap([optional.none(), optional.of('a')]) == ['a'] && optional.unwrap([]) == []",
        "[[1], [2, 3]].flatten() == [1, 2, 3] && [1, 2, 1].distinct() == [1, 2] && [3, 1].sort() == [1, 3] && lists.range(3) == [0, 1, 2]",
        "[1, 2, 3].slice(1, 3) == [2, 3] && [1, 2].reverse() == [2, 1] && 'abc'.reverse() == 'cba'",
        "sets.contains([1, 2, 2], [2, 1]) && !sets.contains([1], [2]) && sets.contains([1], []) && sets.equivalent([1, 1], [1]) && !sets.equivalent([1, 2], [1])",
        "sets.intersects([1, 2], [2, 3]) && !sets.intersects([1], [2]) && !sets.intersects([], [])",
    ]);
    all_fail(&[("[].min() > 1", "min called on empty list"), ("[].max() > 1", "max called on empty list"), ("['a'].sum() == 1", "sum")]);
}

#[test]
fn quantities() {
    all_true(&[
        "isQuantity('20') && isQuantity('20Mi') && !isQuantity('20Mo') && !isQuantity('10Mm')",
        "quantity('200M') == quantity('0.2G') && quantity('2000k') == quantity('2M') && quantity('200M') != quantity('0.3G')",
        "quantity('50M').isLessThan(quantity('50Mi')) && !quantity('100M').isLessThan(quantity('50M')) && quantity('50Mi').isGreaterThan(quantity('50M'))",
        "quantity('200M').compareTo(quantity('0.2G')) == 0 && quantity('50M').compareTo(quantity('50Mi')) == -1 && quantity('50Mi').compareTo(quantity('50M')) == 1",
        "quantity('50k').add(quantity('20')) == quantity('50.02k') && !quantity('50k').add(20).isLessThan(quantity('50020'))",
        "quantity('50k').sub(20) == quantity('49980') && quantity('50k').add(20).sub(quantity('100k')).sub(-50000).asInteger() == 20",
        "quantity('50').isInteger() && !quantity('9999999999999999999999999999999999999G').isInteger() && quantity('50.703k').asApproximateFloat() == 50703.0",
        "quantity('-1').sign() == -1 && sign(quantity('0')) == 0 && quantity('1m').sign() == 1 && !quantity('1m').isInteger()",
    ]);
    all_fail(&[
        ("quantity('10Mo').isInteger()", "quantities must match the regular expression"),
        ("quantity('10Mm').isInteger()", "unable to parse quantity's suffix"),
        ("quantity('9999999999999999999999999999999999999G').asInteger() == 1", "cannot convert value to integer"),
    ]);
}

#[test]
fn addresses() {
    all_true(&[
        "isIP('192.168.0.1') && !isIP('192.168.0.1.0') && isIP('2001:db8::68') && !isIP('2001:db8:::68') && !isIP('010.0.0.1')",
        "!isIP('::ffff:1.2.3.4') && !isIP('fe80::1%eth0') && ip.isCanonical('127.0.0.1') && !ip.isCanonical('2001:DB8::68')",
        "ip('192.168.0.1').family() == 4 && ip('2001:db8::68').family() == 6 && string(ip('192.168.0.1')) == '192.168.0.1'",
        "ip('0.0.0.0').isUnspecified() && ip('::').isUnspecified() && ip('127.0.0.1').isLoopback() && ip('::1').isLoopback() && !ip('1.2.3.4').isLoopback()",
        "ip('224.0.0.1').isLinkLocalMulticast() && !ip('224.0.1.1').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast()",
        "ip('169.254.169.254').isLinkLocalUnicast() && ip('fe80::1').isLinkLocalUnicast() && !ip('fd80::1').isLinkLocalUnicast()",
        "ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast() && !ip('ff00::1').isGlobalUnicast()",
        "type(ip('192.168.0.1')) != string && ip('::1') == ip('0:0::1')",
        "cidr('192.168.0.0/24').containsIP(ip('192.168.0.1')) && !cidr('192.168.0.0/24').containsIP('192.168.1.1') && !cidr('192.168.0.0/24').containsIP('::1')",
        "cidr('192.168.0.0/24').containsCIDR('192.168.0.0/25') && !cidr('192.168.0.0/24').containsCIDR(cidr('192.168.0.0/23')) && cidr('0.0.0.0/0').containsIP('9.9.9.9')",
        "cidr('192.168.0.1/24').masked() == cidr('192.168.0.0/24') && cidr('192.168.0.1/24').ip() == ip('192.168.0.1') && cidr('2001:db8::/32').prefixLength() == 32",
        "isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0/') && !isCIDR('10.0.0.0/33') && !isCIDR('10.0.0.0/08') && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'",
    ]);
    all_fail(&[("ip('192.168.0.1.0').family() == 4", "parse error during conversion from string"), ("ip.isCanonical('x')", "unable to parse IP")]);
    all_fail(&[("isIP(cidr('192.168.0.0/24'))", "no matching overload"), ("cidr('x').prefixLength() == 1", "network address parse error")]);
}

#[test]
fn versions_formats_and_keys() {
    all_true(&[
        "isSemver('1.2.3-beta.1+build.1') && !isSemver('') && !isSemver('v1.0.0') && !isSemver(' 1.0.0') && !isSemver('01.01.01') && !isSemver('1.1')",
        "isSemver('v1.0.0', true) && isSemver('01.01.01', true) && isSemver('1', true) && !isSemver('', true) && !isSemver('1. 0.0', true) && !isSemver('1-a', true)",
        "semver('v01.01', true) == semver('1.1.0') && semver('1.2.3') != semver('1.0.0') && semver('1.2.3+a') == semver('1.2.3+b')",
        "semver('1.0.0').isLessThan(semver('1.2.3')) && semver('1.2.3').isGreaterThan(semver('1.2.3-rc.1')) && semver('1.2.3').compareTo(semver('1.0.0')) == 1",
        "semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3",
        "!format.dns1123Label().validate('my-label').hasValue() && format.dns1123Label().validate('contains a space').hasValue()",
        "format.named('dns1123Subdomain').hasValue() && !format.named('unknown').hasValue() && format.named('uri').value() == format.uri()",
        "!format.dns1123LabelPrefix().validate('a-').hasValue() && format.dns1123Label().validate('a-').hasValue() && !format.qualifiedName().validate('a.io/b').hasValue()",
        "!format.uuid().validate('123e4567-e89b-12d3-a456-426614174000').hasValue() && format.uuid().validate('123').value() == ['does not match the UUID format']",
        "!format.byte().validate('aGVsbG8=').hasValue() && format.byte().validate('$').value() == ['invalid base64'] && !format.uri().validate('http://a').hasValue()",
        "!format.date().validate('2021-01-01').hasValue() && format.date().validate('2021-99-01').value() == ['invalid date']",
        "!format.datetime().validate('2021-01-01T00:00:00Z').hasValue() && format.datetime().validate('nonsense').value() == ['invalid datetime']",
        "format.labelValue().validate('a b').value()[0].startsWith('a valid label must be')",
        "jsonpatch.escapeKey('k8s.io/my~label') == 'k8s.io~1my~0label'",
    ]);
    all_fail(&[("semver('v1.0').major() == 1", "is no semantic version")]);
}

#[test]
fn two_variables() {
    all_true(&[
        "[1, 2, 3, 4].all(i, v, i < 5 && v > 0) && [1, 2, 3, 4].all(i, v, i < v) && !([1, 2, 3, 4].all(i, v, i > v))",
        "{'a': 1, 'b': 2}.all(k, v, k != 'c' && v < 3) && {'a': 1}.exists(k, v, k == 'a' && v == 1) && !{'a': 1}.exists(k, v, v == 2)",
        "[1, 1, 2].existsOne(i, v, v == 2) && ![1, 1].exists_one(i, v, v == 1)",
        "[1, 2, 3].transformList(i, v, (i * v) + v) == [1, 4, 9] && [1, 2, 3].transformList(i, v, i % 2 == 0, v) == [1, 3]",
        "{'a': 'x'}.transformMap(k, v, k + v) == {'a': 'ax'} && ['x', 'y'].transformMap(i, v, i > 0, v) == {1: 'y'}",
        "{'a': 'x', 'b': 'y'}.transformMapEntry(k, v, {v: k}) == {'x': 'a', 'y': 'b'} && {'a': 'x', 'b': 'y'}.transformMapEntry(k, v, k == 'a', {v: k}) == {'x': 'a'}",
        "[[1, 2], [3]].all(i, v, v.all(j, w, w > i + j - 1)) && [{'n': 1}].all(i, v, v.n == 1 && has(v.n) && [9].map(i, i)[0] == 9)",
    ]);
    // A variable may have a namespace's name.
    all_true(&["['ab'].all(ip, ip.replace('a', 'b') == 'bb') && ['x'].exists(format, format.contains('x'))"]);
    all_fail(&[("{'a': 'x', 'b': 'x'}.transformMapEntry(k, v, {v: k}) == {}", "already exists"), ("[1].all(i, i, true)", "duplicate variable name")]);
}

struct Fixed;

impl Authorize for Fixed {
    fn answer(&self, question: &Question) -> Answer {
        let shown = format!("{question:?}");
        Answer { allowed: question.verb == "get" || question.account.is_some(), reason: shown }
    }
}

#[test]
fn authorizers() {
    let who: Arc<dyn Authorize> = Arc::new(Fixed);
    let mut variables = Variables::new();
    variables.set_authorizer(&who, Some(Question { resource: "pods".into(), namespace: "n".into(), ..Question::default() }));
    let check = |text: &str| Expression::compile_with(text, &["authorizer"]).and_then(|e| e.evaluate(&variables));
    assert_eq!(
        check("authorizer.group('apps').resource('deployments').subresource('scale').namespace('n').name('x').check('get').allowed()"),
        Ok(json!(true))
    );
    assert_eq!(check("authorizer.group('').resource('pods').check('create').allowed()"), Ok(json!(false)));
    assert_eq!(check("authorizer.serviceAccount('default', 'x').path('/healthz').check('post').allowed()"), Ok(json!(true)));
    let said = check("authorizer.requestResource.check('get').reason()").unwrap();
    assert!(said.as_str().unwrap().contains("resource: \"pods\"") && said.as_str().unwrap().contains("namespace: \"n\""), "{said}");
    assert_eq!(check("authorizer.path('/x').check('get').errored()"), Ok(json!(false)));
    assert_eq!(check("authorizer.path(' ').check('get').allowed()"), Err("path must not be empty".into()));
    assert_eq!(check("authorizer.serviceAccount('default', 'X!').path('/x').check('get').allowed()"), Err("Invalid service account name".into()));
    assert_eq!(check("[1, 2, 3].all(x, authorizer.path('/x').check('get').allowed())"), Err(CALL_EXCEEDED.into()));
}

#[test]
fn what_is_not_there() {
    let refused = |text: &str| Expression::compile_with(text, &["object", "self"]).err().unwrap_or_default();
    assert_eq!(refused("x"), "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^");
    assert_eq!(
        refused("object.a == 1 &&\n  nothing.b"),
        "ERROR: <input>:2:3: undeclared reference to 'nothing' (in container '')\n |   nothing.b\n | ..^"
    );
    assert!(refused("object.foo()").contains("undeclared reference to 'foo' (in container '')"), "{}", refused("object.foo()"));
    assert!(refused("sets.foo([], [])").contains("undeclared reference to 'sets'"));
    assert!(refused("Other{a: 1}").contains("undeclared reference to 'Other'"));
    assert!(refused("object.all(x, y > 1)").contains("undeclared reference to 'y'"));
    assert!(refused("self.x ==").starts_with("ERROR: <input>:1:10: Syntax error"), "{}", refused("self.x =="));
    for good in [
        "object.all(x, x > 1)",
        "[1].all(i, v, i < v)",
        "type(object) == string",
        "object.?a.optMap(x, x + 1).orValue(1) > 0",
        "[object].sortBy(o, o.n) != []",
    ] {
        assert_eq!(refused(good), "", "{good}");
    }
    let given = |text: &str| Expression::compile_with(text, &["object"]).unwrap().result().map(Type::result_name);
    assert_eq!(given("'a' + object.b").as_deref(), Some("string"));
    assert_eq!(given("object.a > 1").as_deref(), Some("bool"));
    assert_eq!(given("[1].map(x, [x])").as_deref(), Some("list(list(int))"));
    assert_eq!(given("object.a").as_deref(), Some("dyn"));
    assert_eq!(Expression::compile("object.a").unwrap().result(), None);
}

#[test]
fn what_costs_too_much() {
    let exceeding = [
        "object.many.all(a, object.many.all(b, object.many.all(c, a + b + c >= 0)))",
        "object.many.all(a, object.many.all(b, object.many.all(c, a + b + c < 0 || true) || true) || true)",
        "object.many.map(a, object.many.map(b, object.many.map(c, object))).size() > 0",
        "object.many.filter(a, object.many.filter(b, object.many.exists_one(c, c == a)) != []) == []",
        "lists.range(2000000000).size() > 0",
        "[object.text].map(a, a + a + a + a + a + a + a + a + a + a)[0].replace('', object.text).replace('', object.text).size() > 0",
        "object.many.map(a, object.text).map(b, b + b + b + b).map(b, b + b + b + b).map(b, b + b + b + b + b + b + b + b).join(object.text) == ''",
        "object.many.all(a, object.many.all(b, object == object))",
        "object.many.all(a, object.many.all(b, object.text.contains('yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyz') || true))",
        "object.many.all(a, object.many.all(b, object.text.matches('^(y|z)+' + string(a) + '$') || true))",
        "object.many.all(a, object.many.all(b, optional.of(object).hasValue()))",
        "object.many.all(a, object.many.all(b, [1.5, object][0] == 1.5))",
        "object.many.transformList(a, b, object.many.transformList(c, d, object.many)).size() > 0",
        "object.many.all(a, object.many.all(b, object.many.isSorted() && object.many.indexOf(-1) == -1))",
        "sets.equivalent(object.many.map(a, a), object.many.map(a, a)) && sets.equivalent(object.many, object.many)",
    ];
    for text in exceeding {
        assert_eq!(evaluate(text), Err(CALL_EXCEEDED.to_owned()), "{text}");
    }
}

#[test]
fn budgets_are_shared() {
    let budget = Budget::new(1_500_000);
    let many = json!((0..300).collect::<Vec<_>>());
    let variables = Variables::within(budget.clone()).with("many", &many);
    let expensive = Expression::compile("many.all(a, many.all(b, a + b >= 0))").unwrap();
    let mut said = Vec::new();
    while said.len() < 20 && said.last().is_none_or(Result::is_ok) {
        said.push(expensive.is_true(&variables));
    }
    assert_eq!(said.pop(), Some(Err(BUDGET_EXCEEDED.to_owned())));
    assert!(!said.is_empty() && budget.left() < 1_000_000, "{} {}", said.len(), budget.left());
    assert_eq!(Expression::compile("1 == 1").unwrap().is_true(&variables), Err(BUDGET_EXCEEDED.to_owned()));
}

/// None of these may end the process.
#[test]
fn deep_and_long_expressions() {
    let nested = |open: &str, middle: &str, close: &str, times: usize| format!("{}{middle}{}", open.repeat(times), close.repeat(times));
    for times in [10, 50, 90, 150, 190, 1000, 4000, 30_000] {
        let all = [
            nested("(", "1", ")", times),
            nested("[", "1", "]", times),
            nested("-", "1", "", times),
            nested("!", "true", "", times),
            nested("", "1", " + 1", times),
            nested("", "object", ".a", times),
            nested("", "object", "[0]", times),
            nested("true ? ", "1", " : 2", times),
            nested("", "true", " && true", times),
            nested("", "true", " || false", times),
            nested("", "'a'", ".trim()", times),
            nested("{'a': ", "1", "}", times),
            nested("[1].all(x, ", "true", ")", times),
            nested("[1].all(x, y, ", "true", ")", times),
            nested("size(", "[]", ")", times),
            nested("", "1", " < 1", times),
            nested("a.", "b", "", times),
        ];
        for text in all {
            let shown = text.chars().take(20).collect::<String>();
            // On a stack as a request's.
            let done = std::thread::Builder::new().stack_size(2 << 20).spawn(move || drop(evaluate(&text))).unwrap().join();
            assert!(done.is_ok(), "{shown} {times}");
        }
    }
}

/// Schema, expression, and what upstream estimates for it.
#[test]
fn estimates_are_upstreams() {
    let text = |max: Option<u64>| bounded(json!({"type": "string"}), "maxLength", max);
    let list = |item: Value, max: Option<u64>| bounded(json!({"type": "array", "items": item}), "maxItems", max);
    let map = |value: Value, max: Option<u64>| bounded(json!({"type": "object", "additionalProperties": value}), "maxProperties", max);
    let of = |kind: &str| json!({"type": kind});
    let format = |format: &str| json!({"type": "string", "format": format});
    let named = |fields: Value| json!({"type": "object", "properties": fields, "required": ["required"]});
    let objects = |max: Option<u64>| list(named(json!({"required": {"type": "string"}})), max);
    let either = || json!({"x-kubernetes-int-or-string": true});
    let cases = [
        (list(of("number"), None), "self.all(x, true)", 4_718_591),
        (list(of("number"), Some(10)), "self.all(x, true)", 32),
        (list(of("string"), None), "self.all(x, true)", 3_145_727),
        (list(of("boolean"), None), "self.all(x, true)", 1_887_437),
        (list(list(of("number"), None), None), "self.all(x, true)", 3_145_727),
        (objects(None), "self.all(x, true)", 555_128),
        (map(of("number"), None), "self.all(x, true)", 1_348_169),
        (map(of("string"), None), "self.all(x, true)", 1_179_647),
        (map(of("boolean"), None), "self.all(x, true)", 943_718),
        (text(None), "self.contains('test')", 314_574),
        (text(Some(10)), "self.contains('test')", 5),
        (text(None), "self.startsWith('test')", 2),
        (text(None), "size(self + 'hello') > size('hello')", 314_578),
        (text(Some(4)), "size(self + 'hello') > size('hello')", 7),
        (list(of("number"), None), "self[1] == 0.0", 2),
        (list(of("string"), None), "self[1] == self[1]", 314_577),
        (list(of("number"), Some(10)), "self.all(x, self.all(y, true))", 352),
        (list(of("number"), Some(10)), "self.all(x, self.all(y, self.all(z, true)))", 3_552),
        (text(None), "self.matches('x')", 314_574),
        (text(Some(50)), "self.matches('x')", 22),
        (text(None), "''.matches('(((((((((())))))))))[0-9]')", 7),
        (text(None), "self.matches('')", 1),
        (map(of("string"), None), "self.all(x, x.contains(self[x]))", 2_752_507),
        (text(None), "self == 'x'", 2),
        (text(Some(0)), "self == 'x'", 1),
        (list(of("number"), Some(3 * 1024 * 2048)), "self.all(x, x == 0.0)", 25_165_826),
        (list(either(), None), "self.all(x, true)", 4_718_591),
        (list(either(), None), "self[0] == 5", 3),
        (objects(None), "self[0] == null", 2),
        (list(list(of("number"), None), None), "self[0][0] == -1.0", 3),
        (list(map(of("number"), None), None), "self.all(x, x.y == 25.2)", 6_291_452),
        (list(map(of("number"), None), None), "self[0].x > 2.0", 4),
        (list(format("duration"), None), "self.all(x, true)", 2_359_295),
        (list(format("duration"), None), "self[0].getHours() == 2", 4),
        (list(format("date"), None), "self.all(x, true)", 725_936),
        (list(format("date-time"), None), "self.all(x, true)", 428_963),
        (map(format("date-time"), None), "self.all(x, true)", 349_526),
        (text(None), "self.find('[0-9]+') == ''", 629_147),
        (text(Some(10)), "self.find('[0-9]+') == ''", 11),
        (list(text(None), None), "self.join(' ') == 'aa bb'", 329_853_068_905),
        (list(text(Some(10)), Some(10)), "self.join(' ') == 'aa bb'", 43),
        (list(text(None), None), "self.isSorted() == true", 329_854_432_052),
        (list(text(Some(10)), Some(10)), "self.isSorted() == true", 52),
        (named(json!({"str": text(None), "separator": text(None)})), "self.str.split(self.separator) == []", 629_160),
        (text(None), "self.lowerAscii() == 'lower!'", 314_575),
        (map(of("integer"), None), "oldSelf.size() == self.size()", 5),
        (map(format("date-time"), None), "self['a'] == self['b']", 8),
        (map(format("duration"), None), "self['c'] == self['d']", 8),
        (json!({"type": "string", "enum": ["A", "LongValue"]}), "self.contains('A')", 2),
        (either(), "isQuantity(self)", 314_574),
        // Items of lists that the expression makes.
        (named(json!({"t": text(Some(10))})), "self.t.split(',')[0].contains('abc')", 11),
        (named(json!({"t": text(Some(10))})), "self.t.split(',').map(x, x.trim()).all(y, y.contains(self.t))", 782),
        (named(json!({"l": list(text(None), None)})), "self.l.filter(x, x.startsWith('a')).exists(y, y.matches('a+'))", 22_020_089),
        (named(json!({"l": list(text(None), None)})), "self.l.map(x, x + 'a').all(y, y.contains('abc'))", 329_871_209_264),
        (named(json!({"n": list(of("integer"), None)})), "self.n.map(x, x + 1).all(y, y == 1)", 28_311_548),
        (named(json!({"n": list(of("integer"), None)})), "self.n.map(x, string(x)).all(y, y.contains('a'))", 28_311_548),
    ];
    let wrong = cases.iter().filter_map(|(schema, expression, cost)| {
        let declared = Declared::of(schema, false).unwrap();
        let own = Type::declared(&declared, "selfType");
        let scope = Scope::default().with("self", own.clone()).with("oldSelf", own);
        let found = most_cost(expression, &[("self", &declared), ("oldSelf", &declared)], &scope).unwrap_or(u64::MAX);
        (found != *cost).then(|| format!("{schema} {expression}: {found}, not {cost}"))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn bounded(mut schema: Value, field: &str, max: Option<u64>) -> Value {
    if let Some(max) = max {
        schema[field] = json!(max);
    }
    schema
}
