(function () {
  'use strict';
  var token = new URLSearchParams(location.search).get('token') || '';
  var korean = (navigator.language || '').toLowerCase().indexOf('ko') === 0;
  var words = {model: '모델', heat: '온도', fresh: '새 대화', send: '보내기', question: '질문'};
  if (korean) {
    document.documentElement.lang = 'ko';
    document.querySelectorAll('[data-say]').forEach(function (one) {
      one.textContent = words[one.dataset.say];
    });
  }
  var talk = document.getElementById('talk'), box = document.getElementById('text');
  var send = document.getElementById('send'), model = document.getElementById('model');
  var messages = [];
  function headers() {
    return {'content-type': 'application/json', 'x-samdan-token': token};
  }
  function say(who, text) {
    var one = document.createElement('p');
    one.className = who;
    one.textContent = text;  // a model's text is text
    one.dir = 'auto';
    talk.appendChild(one);
    one.scrollIntoView({block: 'end'});
    return one;
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
        shown.textContent = text;
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
    }).catch(function (error) {
      messages.pop();
      shown.className = 'fault';
      shown.textContent = error.message;
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
    talk.replaceChildren();
    box.focus();
  }
  document.getElementById('fresh').addEventListener('click', fresh);
  model.addEventListener('change', fresh);
  fetch('/v1/models', {headers: headers()}).then(function (answer) {
    return answer.json();
  }).then(function (found) {
    found.data.forEach(function (one) {
      var option = document.createElement('option');
      option.textContent = one.id;
      model.appendChild(option);
    });
    model.selectedIndex = model.options.length - 1;
  });
  box.focus();
})();
