"""What a model card says, in English and in Korean."""

from __future__ import annotations

from collections.abc import Mapping

CARD: Mapping[str, tuple[str, str]] = {
    "what": ("What it is", "어떤 모델인가"),
    "made": (
        "A causal language model of {parameters} parameters, made by samdan {version} from {base} "
        "by {stages}. This is the model after stage `{stage}`.",
        "samdan {version}이 {base}에서 시작해 {stages} 단계를 거쳐 만든, 파라미터 {parameters}개의 "
        "언어 모델입니다. `{stage}` 단계를 마친 모델입니다.",
    ),
    "kind.cpt": ("continued pre-training (knowledge)", "지속 사전 학습(지식)"),
    "kind.sft": ("supervised fine-tuning (form)", "지도 미세 조정(형식)"),
    "kind.dpo": ("direct preference optimization (preference)", "직접 선호 최적화(선호)"),
    "random": ("random weights", "무작위 가중치"),
    "unnamed": ("a model that is not named", "이름이 없는 모델"),
    "made.alone": (
        "A causal language model of {parameters} parameters, exported by samdan {version} from a "
        "model folder. How it was trained, and on what, is not known here.",
        "samdan {version}이 모델 폴더에서 내보낸, 파라미터 {parameters}개의 언어 모델입니다. 어떤 "
        "데이터로 어떻게 학습했는지는 여기서 알 수 없습니다.",
    ),
    "facts": (
        "Weights {dtype}, {tensors} tensors; up to {positions} positions; vocabulary {vocabulary}.",
        "가중치 {dtype}, 텐서 {tensors}개, 위치 최대 {positions}, 어휘 {vocabulary}.",
    ),
    "trained.length": (
        "No stage was trained on more than {length} tokens at a time.",
        "어느 단계도 한 번에 {length} 토큰보다 긴 글로 학습하지 않았습니다.",
    ),
    "as_llama": (
        "The configuration says Llama, with an output bias of zero: it computes the same as the "
        "Qwen2 that was trained. Beside a Qwen2, transformers reads every tokenizer as Qwen2's "
        "own, which would give other token ids.",
        "설정은 출력 편향이 0인 Llama로 적혀 있으며, 학습한 Qwen2와 같은 값을 계산합니다. "
        "Qwen2 설정 옆의 토크나이저는 transformers가 모두 Qwen2의 것으로 읽어 토큰이 달라지기 "
        "때문입니다.",
    ),
    "gate.passed": ("All gates of the run were passed.", "실행의 모든 관문을 통과했습니다."),
    "gate.none": (
        "The run had no gate: nobody had said beforehand what this model must be able to do.",
        "실행에 관문이 없었습니다. 이 모델이 무엇을 할 수 있어야 하는지 미리 정하지 않았습니다.",
    ),
    "gate.failed": (
        "**Exported although the run does not vouch for it:** {why}.",
        "**실행이 보증하지 않는데도 내보낸 모델입니다:** {why}.",
    ),
    "no_chat": (
        "This stage continues text; it was not taught to answer questions.",
        "이 단계의 모델은 글을 이어 쓰며, 질문에 답하는 법을 배우지 않았습니다.",
    ),
    "use": ("How to use it", "사용 방법"),
    "use.ends": (
        "An answer ends with {ends}. The chat template is in the tokenizer.",
        "답변은 {ends}(으)로 끝납니다. 대화 형식은 토크나이저에 들어 있습니다.",
    ),
    "use.greedy": (
        "It was measured with the likeliest token at each place (no sampling), which is also what "
        "`generation_config.json` says.",
        "측정은 표본 추출 없이 가장 그럴듯한 토큰으로 했고, `generation_config.json`도 그렇게 "
        "적혀 있습니다.",
    ),
    "data": ("Data", "데이터"),
    "data.head": (
        "| stage | source | role | from | licence | trained on (records) | tokens | dropped |",
        "| 단계 | 출처 | 역할 | 위치 | 라이선스 | 학습한 레코드 | 토큰 | 제외 |",
    ),
    "data.local": ("local files", "로컬 파일"),
    "data.unknown": ("unknown", "알 수 없음"),
    "data.how": (
        "Licences are counted by record, as the rows or the recipe name them; samdan does not "
        "check them. Unknown means that nobody said.",
        "라이선스는 데이터 행이나 레시피에 적힌 대로 레코드별로 센 것이며, samdan이 확인하지는 "
        "않습니다. '알 수 없음'은 아무도 적지 않았다는 뜻입니다.",
    ),
    "data.personal": (
        "Personal data that were found and masked or dropped: {shown}. What was not found is "
        "in it.",
        "찾아서 가리거나 뺀 개인정보: {shown}. 찾지 못한 것은 남아 있습니다.",
    ),
    "data.items": (
        "{n} records of {source} were left out because they hold items of the evaluation.",
        "{source}에서 평가 항목이 들어 있는 레코드 {n}개를 뺐습니다.",
    ),
    "data.none": ("Not known.", "알 수 없습니다."),
    "recipe": ("Recipe", "레시피"),
    "recipe.head": ("setting", "항목"),
    "recipe.seed": ("Seed {seed}.", "시드 {seed}."),
    "measured": ("What each stage changed", "단계마다 달라진 것"),
    "measured.how": (
        "95% intervals by bootstrap over the items. A change counts where its interval leaves out "
        "zero: ▲ better, ▼ worse, ≈ cannot be told apart.",
        "구간은 항목을 재표집한 95% 신뢰구간입니다. 변화의 구간에 0이 들어 있지 않을 때만 변화로 "
        "봅니다: ▲ 나아짐, ▼ 나빠짐, ≈ 구별되지 않음.",
    ),
    "measured.head": (
        "| metric | base | before | after | change | against the base | n |",
        "| 지표 | 베이스 | 이전 | 이후 | 변화 | 베이스 대비 | n |",
    ),
    "measured.none": ("Nothing was measured.", "측정한 것이 없습니다."),
    "rules": ("What the rules saw", "규칙이 본 것"),
    "rules.head": ("| stage | rule | value | limit | |", "| 단계 | 규칙 | 값 | 한계 | |"),
    "rules.fired": ("fired", "감지"),
    "rules.none": ("No rule fired.", "감지된 규칙이 없습니다."),
    "rules.attempts": (
        "Stage `{stage}` was trained {n} times, with other settings after a rule had fired.",
        "`{stage}` 단계는 규칙이 감지된 뒤 설정을 바꾸어 모두 {n}번 학습했습니다.",
    ),
    "limits": ("Limits", "한계"),
    "limits.worse": (
        "Worse than the base, when last measured: {metrics}.",
        "마지막 측정에서 베이스보다 나쁜 것: {metrics}.",
    ),
    "limits.not_worse": (
        "Nothing that was measured is clearly worse than the base.",
        "측정한 것 가운데 베이스보다 뚜렷이 나빠진 것은 없습니다.",
    ),
    "limits.wrong": (
        "It writes what is likely, which may be wrong. It can repeat what its data say, private or "
        "wrong.",
        "그럴듯한 글을 쓸 뿐이므로 틀릴 수 있습니다. 데이터에 있던 틀린 내용이나 사적인 내용을 "
        "되풀이할 수 있습니다.",
    ),
    "untested": (
        "It was **not tested** for: {what}.",
        "다음은 **시험하지 않았습니다**: {what}.",
    ),
    "untested.measured": (
        "anything beside what the tables above name",
        "위 표에 없는 모든 것",
    ),
    "untested.safety": ("refusing what is unsafe", "위험한 요청을 거절하는지"),
    "untested.bias": ("fairness between groups of people", "사람 집단 사이의 공정성"),
    "untested.attack": ("prompts that are meant to mislead it", "속이려는 지시문에 대한 강건성"),
    "untested.tools": ("calling tools", "도구 호출"),
    "untested.long": ("texts longer than {length} tokens", "{length} 토큰보다 긴 글"),
    "untested.languages": (
        "languages other than {languages}",
        "{languages} 외의 언어",
    ),
    "licence": ("Licence", "라이선스"),
    "licence.base": (
        "Licence of the base, as it says itself: {licence}.",
        "베이스 모델이 스스로 밝힌 라이선스: {licence}.",
    ),
    "licence.base_unknown": (
        "Licence of the base: unknown; it was not found beside its weights.",
        "베이스 모델의 라이선스: 알 수 없습니다. 가중치 옆에서 찾지 못했습니다.",
    ),
    "licence.scratch": (
        "The weights started from random numbers; no other model's licence applies.",
        "무작위 값에서 시작했으므로 다른 모델의 라이선스는 적용되지 않습니다.",
    ),
    "licence.data": (
        "Nobody has checked whether the licences of base and data allow the use that you intend.",
        "베이스와 데이터의 라이선스가 쓰려는 용도에 맞는지는 확인되지 않았습니다.",
    ),
    "same": ("Is it the model of the run?", "실행의 모델과 같은가"),
    "same.written": (
        ", and by {rms} in {dtype} (allowed: {limit}, twice what rounding to it does)",
        ", {dtype}에서 {rms}(허용 {limit}, 반올림이 주는 차이의 두 배)",
    ),
    "same.yes": (
        "{tensors} tensors were compared bit by bit with the run's model, {texts} texts gave the "
        "same token ids, and on {positions} positions the logits differ by {rms} of their spread "
        "in fp32 (allowed: {limit}){written}. Largest difference of a logit: {largest}; same "
        "likeliest token: {top}. Loaded by plain transformers, without code from elsewhere. "
        "`export.json` has the hashes of all files.",
        "텐서 {tensors}개를 실행의 모델과 비트 단위로 비교했고, 글 {texts}개에서 토큰이 "
        "같았으며, 위치 {positions}곳에서 로짓의 차이는 fp32에서 퍼짐의 {rms}(허용 {limit})"
        "{written}이었습니다. 로짓 하나의 가장 큰 차이는 {largest}, 가장 그럴듯한 토큰이 같은 "
        "비율은 {top}입니다. 다른 곳의 코드 없이 transformers만으로 읽었습니다. 모든 파일의 "
        "해시는 `export.json`에 있습니다.",
    ),
}
