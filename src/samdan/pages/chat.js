(function () {
  'use strict';
  var token = new URLSearchParams(location.search).get('token') || '';
  var root = document.documentElement;
  if (root.hasAttribute('data-auto')) root.lang = /^ko\b/i.test(navigator.language || '') ? 'ko' : 'en';
  var WORDS = {
    model: ['Model', '모델'], heat: ['Temperature', '온도'], fresh: ['New conversation', '새 대화'],
    send: ['Send', '보내기'], question: ['Question', '질문'], chat: ['chat', '대화'],
    talk: ['Conversation', '대화'], user: ['You', '나'],
    note: ['Every answer is made on this machine. What a model says may be wrong.',
      '답변은 모두 이 컴퓨터에서 만듭니다. 모델의 말은 틀릴 수 있습니다.'],
    lost: ['No connection to samdan. Is it still running?',
      'samdan에 연결할 수 없습니다. 실행 중인지 확인하십시오.']
  };
  function word(name) { return WORDS[name][root.lang === 'ko' ? 1 : 0]; }
  function wording() {
    document.querySelectorAll('[data-say]').forEach(function (one) {
      one.textContent = word(one.dataset.say);
    });
    talk.setAttribute('aria-label', word('talk'));
    document.getElementById('ask').setAttribute('aria-label', word('question'));
    var other = document.getElementById('language');
    other.lang = root.lang === 'ko' ? 'en' : 'ko';
    other.textContent = root.lang === 'ko' ? 'English' : '한국어';
    box.placeholder = word('question');
  }
  var talk = document.getElementById('talk'), box = document.getElementById('text');
  var send = document.getElementById('send'), model = document.getElementById('model');
  var messages = [], note = talk.querySelector('.note');
  function headers() {
    return {'content-type': 'application/json', 'x-samdan-token': token};
  }
  function say(who, text) {
    var one = document.createElement('div'), name = document.createElement('p');
    var said = document.createElement('p');
    one.className = who;
    name.className = 'name';
    if (who === 'user') { name.dataset.say = 'user'; name.textContent = word('user'); }
    else name.textContent = marked(model.value);
    said.className = 'said';
    said.textContent = marked(text);  // a model's text is text
    said.dir = 'auto';
    one.append(name, said);
    talk.querySelectorAll('.note').forEach(function (note) { note.remove(); });
    talk.appendChild(one);
    one.scrollIntoView({block: 'end'});
    return said;
  }
  function follow(answer, shown) {
    var reader = answer.body.getReader(), decoder = new TextDecoder(), rest = '', text = '';
    function next() {
      return reader.read().then(function (part) {
        if (part.done) return text;
        rest += decoder.decode(part.value, {stream: true});
        var events = rest.split('\n\n');
        rest = events.pop();
        events.forEach(function (event) {
          var data = event.replace(/^data: /, '');
          if (data === '[DONE]') return;
          var choice = JSON.parse(data).choices[0];
          text += (choice && choice.delta.content) || '';
        });
        shown.textContent = marked(text);
        shown.scrollIntoView({block: 'end'});
        return next();
      });
    }
    return next();
  }
  function ask(question) {
    say('user', question);
    messages.push({role: 'user', content: question});
    var shown = say('assistant', '…');
    send.disabled = true;
    fetch('/v1/chat/completions', {
      method: 'POST', headers: headers(),
      body: JSON.stringify({
        model: model.value, messages: messages, stream: true,
        temperature: Number(document.getElementById('heat').value) || 0
      })
    }).then(function (answer) {
      if (answer.ok) return follow(answer, shown);
      return answer.text().then(function (text) {
        var told = text;
        try { told = JSON.parse(text).error.message; } catch (error) { /* plain text */ }
        throw new Error(told);
      });
    }).then(function (text) {
      messages.push({role: 'assistant', content: text});
      if (!text) { shown.textContent = '–'; }
    }).catch(function (error) {
      messages.pop();
      shown.parentNode.className = 'fault';
      shown.textContent = error instanceof TypeError ? word('lost') : marked(error.message);
    }).then(function () {
      send.disabled = false;
      box.focus();
    });
  }
  document.getElementById('ask').addEventListener('submit', function (event) {
    event.preventDefault();
    var question = box.value.trim();
    if (!question || send.disabled) return;
    box.value = '';
    ask(question);
  });
  box.addEventListener('keydown', function (event) {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      document.getElementById('ask').requestSubmit();
    }
  });
  function fresh() {
    messages = [];
    talk.replaceChildren(note);
    box.focus();
  }
  document.getElementById('language').addEventListener('click', function () {
    root.lang = root.lang === 'ko' ? 'en' : 'ko';
    wording();
  });
  document.getElementById('fresh').addEventListener('click', fresh);
  model.addEventListener('change', fresh);
  fetch('/v1/models', {headers: headers()}).then(function (answer) {
    return answer.json();
  }).then(function (found) {
    found.data.forEach(function (one) {
      var option = document.createElement('option');
      option.value = one.id;
      option.textContent = marked(one.id);
      model.appendChild(option);
    });
    model.selectedIndex = model.options.length - 1;
  });
  wording();
  box.focus();
})();
