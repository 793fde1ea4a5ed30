'use strict';
(function () {
  const WORDS = {
    title: ['Which answer is better?', '어느 답이 더 낫습니까?'],
    intro: [
      'You see one question and two answers. Choose the one that you would rather have received.',
      '질문 하나와 답 두 개가 보입니다. 실제로 받고 싶은 답을 고르십시오.'],
    'rule.blind': [
      'Which model wrote which answer is hidden, and the sides are drawn by chance.',
      '어느 모델이 쓴 답인지는 숨겨져 있고, 좌우는 무작위로 정해집니다.'],
    'rule.length': [
      'Longer is not better by itself: what counts is right, useful and well put.',
      '길다고 좋은 답은 아닙니다. 맞고, 쓸모 있고, 잘 쓴 답을 고르십시오.'],
    'rule.back': [
      'You may stop at any time and go on later under the same name.',
      '언제든 멈추고 같은 이름으로 이어서 할 수 있습니다.'],
    name: ['Your name', '이름'],
    begin: ['Begin', '시작'],
    prompt: ['Question', '질문'],
    left: ['A is better', 'A가 낫다'],
    right: ['B is better', 'B가 낫다'],
    tie: ['Equally good', '비슷하다'],
    bad: ['Both bad', '둘 다 나쁘다'],
    empty: ['(empty answer)', '(빈 답변)'],
    back: ['Take back', '취소'],
    cast: ['Saved.', '저장했습니다.'],
    chose: ['Last pair: you preferred {better} to {other}.', '직전 쌍: {other}보다 {better}를 골랐습니다.'],
    chose_tie: ['Last pair: {left} and {right}, equally good.', '직전 쌍: {left}, {right} (비슷하다).'],
    chose_bad: ['Last pair: {left} and {right}, both bad.', '직전 쌍: {left}, {right} (둘 다 나쁘다).'],
    over: ['over {a}', '{a}보다'],
    taken: ['Taken back: it does not count and is not asked again.',
      '취소했습니다. 집계에서 빠지고 다시 묻지 않습니다.'],
    done: ['Everything is judged. Thank you.', '모두 마쳤습니다. 고맙습니다.'],
    'done.more': ['The votes are saved. You can close this page.',
      '투표는 저장되었습니다. 이 창을 닫아도 됩니다.'],
    lost: ['No connection to samdan. Is it still running? Nothing was lost; load the page again.',
      'samdan에 연결할 수 없습니다. 실행 중인지 확인하고 페이지를 다시 여십시오. 저장된 투표는 남아 있습니다.'],
    shorter: ['Who is preferred', '선호된 모델'],
    match: ['Models', '모델'],
    pairs: ['Pairs', '쌍'],
    wins: ['Wins', '승'],
    even: ['Equal · both bad', '비슷 · 둘 다 나쁨'],
    share: ['Share of decided (95%)', '결정된 쌍 중 비율 (95%)'],
    points: ['Strength (Bradley-Terry)', '강도 (Bradley-Terry)'],
    model: ['Model', '모델'],
    point: ['Points (95%)', '점수 (95%)'],
    points_note: ['100 points more: preferred in 64% of pairs. The mean is 0.',
      '100점 높으면 64%의 쌍에서 선호됩니다. 평균은 0입니다.'],
    checks: ['Can the votes be trusted?', '투표를 믿을 수 있습니까?'],
    agree: ['Agreement between raters: {same} alike on {n} pairs, alpha {alpha}',
      '평가자 일치: {n}쌍에서 {same} 일치, 알파 {alpha}'],
    agree_none: ['Agreement: no pair has two raters yet.', '일치도: 두 사람이 본 쌍이 아직 없습니다.'],
    leftward: ['Answer A (left, or above) won {share} of {n} decided votes ({low} to {high}); 50% is no bias.',
      'A(왼쪽 또는 위)가 이긴 비율 {share} ({n}표, {low}~{high}). 50%면 치우침이 없습니다.'],
    longer: ['The longer answer won {share} of {n} decided votes ({low} to {high}).',
      '긴 답이 이긴 비율 {share} ({n}표, {low}~{high}).'],
    progress: ['Pairs judged', '평가한 쌍'],
    change: ['Change name', '이름 바꾸기'],
  };
  const LANGUAGE = 'samdan-judge-language', NAME = 'samdan-judge-name';
  const token = new URLSearchParams(location.search).get('token') || '';
  const at = (id) => document.getElementById(id);
  const buttons = [...document.querySelectorAll('[data-choice]')];
  const root = document.documentElement;
  const told_language = root.hasAttribute('data-auto') ? navigator.language : root.lang;
  let korean = (recall(LANGUAGE) || told_language || '').toLowerCase().startsWith('ko');
  let rater = recall(NAME), pair = null, last = null, told = null, summary = null;
  let busy = false, since = 0, done = 0, of = 0;

  function recall(key) { try { return localStorage.getItem(key) || ''; } catch { return ''; } }
  function keep(key, value) { try { localStorage.setItem(key, value); } catch { /* private mode */ } }
  function word(name, values) {
    return WORDS[name][korean ? 1 : 0].replace(/\{(\w+)\}/g, (_, key) => values[key]);
  }
  async function ask(path, body) {
    let answer;
    try {
      answer = await fetch(path, {
        method: 'POST', credentials: 'omit', cache: 'no-store',
        headers: {'Content-Type': 'application/json', 'X-Samdan-Token': token},
        body: JSON.stringify({rater, ...body}),
      });
    } catch { throw new Error(word('lost')); }
    const value = await answer.json().catch(() => ({error: String(answer.status)}));
    if (!answer.ok) throw new Error(value.error || String(answer.status));
    return value;
  }
  function wording() {
    document.documentElement.lang = korean ? 'ko' : 'en';
    document.querySelectorAll('[data-word]').forEach((one) => {
      one.textContent = word(one.dataset.word);
    });
    document.querySelectorAll('[data-label]').forEach((one) => {
      one.setAttribute('aria-label', word(one.dataset.label));
    });
    at('language').textContent = korean ? 'English' : '한국어';
    at('who').title = word('change');
    at('told').textContent = told ? word(told.name, told.values) : '';
    if (pair) fill();
    if (summary) results();
  }
  function show(name) {
    for (const id of ['start', 'judge', 'done']) at(id).hidden = id !== name;
    at('bar-votes').hidden = name === 'start';
    document.querySelector('.votes').hidden = name !== 'judge';
    document.querySelector('.progress').hidden = name === 'start';
    at('who').hidden = name === 'start';
    at('who').textContent = rater;
  }
  function text(id, value) {
    const shown = value.trim();
    at(id).textContent = marked(shown) || word('empty');
    at(id).classList.toggle('none', !shown);
  }
  function fill() { text('prompt', pair.prompt); text('left', pair.left); text('right', pair.right); }
  function tell(name, values) {
    told = name ? {name, values} : null;
    at('told').textContent = name ? word(name, values) : '';
    at('back').hidden = !last;
  }
  function fault(error) { at('fault').hidden = !error; at('fault').textContent = error ? error.message : ''; }

  async function next() {
    const found = await ask('/next', {});
    pair = found.pair; done = found.done; of = found.of;
    at('count').textContent = done + ' / ' + of;
    at('bar').max = Math.max(of, 1);
    at('bar').value = done;
    document.querySelectorAll('.chosen').forEach((one) => one.classList.remove('chosen'));
    if (pair) {
      show('judge'); fill(); scrollTo(0, 0);
      at('prompt').focus({preventScroll: true});
    } else {
      summary = await ask('/results', {});
      show('done'); results();
    }
    since = performance.now();
  }
  async function once(work) {
    if (busy) return;
    busy = true;
    buttons.forEach((one) => { one.disabled = true; });
    try { await work(); fault(null); } catch (error) { fault(error); } finally {
      busy = false;
      buttons.forEach((one) => { one.disabled = false; });
    }
  }
  function vote(choice) {
    // A pair that has only just appeared was not read: the press was meant for the one before.
    if (!pair || performance.now() - since < 300) return;
    once(async () => {
      const card = at('card-' + choice);
      if (card) card.classList.add('chosen');
      const seconds = (performance.now() - since) / 1000;
      const found = await ask('/vote', {pair: pair.id, choice, seconds});
      last = pair.id;
      // Of the last pair, in words without A and B: those stand on the next pair already.
      if (!found.models) tell('cast');
      else if (choice === 'tie' || choice === 'bad') tell('chose_' + choice, found.models);
      else tell('chose', {
        better: found.models[choice], other: found.models[choice === 'left' ? 'right' : 'left'],
      });
      await next();
    });
  }
  function back() {
    if (!last) return;
    once(async () => {
      await ask('/withdraw', {pair: last});
      last = null;
      tell('taken');
      if (!pair) await next();
    });
  }

  function add(parent, name, content, cls) {
    const made = parent.appendChild(document.createElement(name));
    if (content !== undefined) made.textContent = content;
    if (cls) made.className = cls;
    return made;
  }
  const percent = (value) => value === null ? '–' : (100 * value).toFixed(0) + '%';
  const number = (value) => value === null ? '–' : value.toFixed(0).replace('-', '\u2212');
  function table(title, heads, rows, note) {
    const card = add(at('results'), 'div', undefined, 'card');
    add(card, 'h2', word(title));
    const made = add(add(card, 'div', undefined, 'scroll'), 'table');
    const line = add(add(made, 'thead'), 'tr');
    heads.forEach((head) => add(line, 'th', word(head)));
    const body = add(made, 'tbody');
    rows.forEach((row) => {
      const one = add(body, 'tr');
      row.forEach(([main, small]) => {
        const cell = add(one, 'td', main);
        if (small) add(cell, 'small', small);
      });
    });
    if (note) add(card, 'p', note, 'note');
  }
  function results() {
    const found = summary.people, bars = (share) => ({
      share: percent(share.share), n: share.n, low: percent(share.ci95[0]), high: percent(share.ci95[1]),
    });
    at('results').replaceChildren();
    table('shorter', ['match', 'pairs', 'wins', 'even', 'share'], found.matches.map((m) => [
      [m.b, word('over', m)], [m.pairs], [m.wins_b + ' : ' + m.wins_a], [m.ties + ' · ' + m.bad],
      [percent(m.share_b), percent(m.ci95[0]) + '–' + percent(m.ci95[1])],
    ]));
    if (found.strengths.length > 2) {
      const ranked = [...found.strengths].sort((x, y) => y.points - x.points);
      table('points', ['model', 'point'], ranked.map((s) => [
        [s.model], [number(s.points), number(s.ci95[0]) + ' … ' + number(s.ci95[1])],
      ]), word('points_note'));
    }
    const card = add(at('results'), 'div', undefined, 'card'), agreed = found.agreement;
    add(card, 'h2', word('checks'));
    add(card, 'p', agreed.pairs ? word('agree', {
      same: percent(agreed.same.share), n: agreed.pairs,
      alpha: agreed.alpha === null ? '–' : agreed.alpha.toFixed(2).replace('-', '\u2212'),
    }) : word('agree_none'));
    add(card, 'p', word('leftward', bars(found.left_won)));
    if (found.longer_won.n) add(card, 'p', word('longer', bars(found.longer_won)));
  }

  at('language').addEventListener('click', () => {
    korean = !korean;
    keep(LANGUAGE, korean ? 'ko' : 'en');
    wording();
  });
  at('who').addEventListener('click', () => {
    pair = last = summary = null;
    tell(null);
    show('start');
    at('name').select();
  });
  at('start').addEventListener('submit', (event) => {
    event.preventDefault();
    rater = at('name').value.trim().replace(/\s+/g, ' ');
    if (!rater) return;
    keep(NAME, rater);
    once(next);
  });
  buttons.forEach((one) => one.addEventListener('click', () => vote(one.dataset.choice)));
  at('back').addEventListener('click', back);
  const KEYS = {
    arrowleft: 'left', a: 'left', 1: 'left', arrowright: 'right', b: 'right', 4: 'right',
    t: 'tie', 2: 'tie', x: 'bad', 3: 'bad',
  };
  const PLACES = {KeyA: 'a', KeyB: 'b', KeyT: 't', KeyX: 'x', KeyZ: 'z'};
  addEventListener('keydown', (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target instanceof HTMLInputElement || at('start').hidden === false) return;
    // By place for letters: with a Korean keyboard layout the key A gives ㅁ.
    const key = PLACES[event.code] || event.key.toLowerCase();
    if (key === 'z') { event.preventDefault(); back(); }
    else if (KEYS[key] && !at('judge').hidden) { event.preventDefault(); vote(KEYS[key]); }
  });

  at('name').value = rater;
  wording();
  if (rater) once(next); else { show('start'); at('name').focus(); }
})();
