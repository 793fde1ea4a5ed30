"""Every word of the report, in English and in Korean.

To add one: a line in ``WORDS``, English first. ``say`` puts both into the page (CSS shows one),
``english`` is for the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping

from samdan.report.growth_words import GROWTH
from samdan.report.live_words import LIVE
from samdan.report.markup import Html, join, tag, text
from samdan.report.numbers import Both
from samdan.report.words_of_votes import VOTES

WORDS: Mapping[str, Both] = {
    **GROWTH,
    **LIVE,
    # status
    "status.done": ("done", "완료"),
    "status.running": ("running", "진행 중"),
    "status.stopped": ("stopped", "중단됨"),
    "status.preempted": ("interrupted, state saved", "신호로 중단됨, 상태 저장됨"),
    "status.pending": ("waiting", "대기"),
    "status.failed": ("failed", "실패"),
    "status.reused": ("reused", "재사용"),
    "passed": ("passed", "통과"),
    "failed": ("failed", "불합격"),
    "quiet": ("quiet", "이상 없음"),
    "fired": ("fired", "감지됨"),
    # the three tiers
    "kind.cpt": ("continued pre-training", "지속 사전학습"),
    "kind.sft": ("supervised fine-tuning", "지도 미세조정"),
    "kind.dpo": ("direct preference optimization", "직접 선호 최적화"),
    "tier.cpt": ("knowledge", "지식"),
    "tier.sft": ("rules", "규칙"),
    "tier.dpo": ("values", "가치"),
    "base": ("Base", "기본 모델"),
    "from": ("starts from", "출발점"),
    "scratch": ("random weights (trained from scratch)", "무작위 초기화(처음부터 학습)"),
    # the verdict
    "verdict.good": ("Ready to ship", "배포해도 좋습니다"),
    "verdict.care": ("Ship with care", "확인하고 배포하십시오"),
    "verdict.unproven": ("Trained, but not proven", "학습은 끝났으나 검증되지 않았습니다"),
    "verdict.bad": ("Do not ship", "배포하지 마십시오"),
    "verdict.open": ("Not finished", "아직 끝나지 않았습니다"),
    "why.progress": ("{done} of {all} stages are done.", "{all}단계 중 {done}단계를 마쳤습니다."),
    "why.gate_failed": (
        "The gate of stage {stage} failed: {gates}.",
        "{stage} 단계가 게이트를 통과하지 못했습니다: {gates}.",
    ),
    "why.stage_failed": ("Stage {stage} failed.", "{stage} 단계가 실패했습니다."),
    "why.gates": (
        "Gates judged: {n}, all passed.",
        "판정한 게이트 {n}개를 모두 통과했습니다.",
    ),
    "why.no_gates": (
        "The recipe sets no gate, so nothing was decided automatically.",
        "레시피에 게이트가 없어 자동으로 판정한 것이 없습니다.",
    ),
    "why.worse": (
        "Clearly worse than the base: {metrics}.",
        "기본 모델보다 뚜렷하게 나빠진 지표: {metrics}.",
    ),
    "why.worse_many": (
        "{n} metrics are clearly worse than the base, most of all {metrics}.",
        "지표 {n}개가 기본 모델보다 뚜렷하게 나빠졌습니다. 가장 큰 것: {metrics}.",
    ),
    "why.not_worse": (
        "No metric is clearly worse than the base.",
        "기본 모델보다 뚜렷하게 나빠진 지표가 없습니다.",
    ),
    "why.unmeasured": (
        "Nothing was measured: gains and losses are unknown.",
        "측정한 지표가 없어 좋아졌는지 나빠졌는지 알 수 없습니다.",
    ),
    "why.unbalanced": (
        "Token accounts do not add up in {sources}.",
        "토큰 수지가 맞지 않는 출처: {sources}.",
    ),
    # the first screen
    "wall": ("Wall time", "전체 시간"),
    "tokens": ("Tokens trained on", "학습에 쓴 토큰"),
    "rate": ("Tokens per second", "초당 토큰"),
    "gates.n": ("Gates passed", "통과한 게이트"),
    "gates.none": ("none set", "없음"),
    "retries": ("Retries", "재시도"),
    "device": ("Device", "장치"),
    "gain.best": ("Largest gain", "가장 큰 개선"),
    "cost.worst": ("Largest cost", "가장 큰 손실"),
    "gain.none": ("no clear gain", "뚜렷한 개선 없음"),
    "cost.none": ("no clear cost", "뚜렷한 손실 없음"),
    "among": ("in {n} metrics", "지표 {n}개 중"),
    "unmeasured": ("nothing was measured", "측정한 지표 없음"),
    "not.yet": ("no result yet", "아직 결과 없음"),
    "at.step": ("at step {step}, loss {loss}", "{step}스텝, 손실 {loss}"),
    "gate.missing": ("no gate", "게이트 없음"),
    "monitors": ("monitors fired: {n}", "감시 규칙 감지 {n}건"),
    "tried": ("{n} attempts", "{n}회 시도"),
    "per.second": ("{n} tokens/s", "초당 {n} 토큰"),
    "n.tokens": ("{n} tokens", "{n} 토큰"),
    "n.steps": ("{n} steps", "{n}스텝"),
    "parameters": ("{n} parameters", "파라미터 {n}"),
    "layers": ("{n} layers", "{n}층"),
    "hidden_size": ("width {n}", "은닉 차원 {n}"),
    "vocab_size": ("vocabulary {n}", "어휘 {n}"),
    "notes": ("Keep in mind", "유의할 점"),
    "seed": ("seed {n}", "시드 {n}"),
    # sections
    "nav": ("Sections", "목차"),
    "tiers": ("Three tiers", "삼단"),
    "evidence": ("Before and after", "전후 비교"),
    "curves": ("Training curves", "학습 곡선"),
    "data": ("What went in", "투입한 데이터"),
    "samples": ("Sample answers", "답변 비교"),
    "rules": ("Gates and monitors", "게이트와 감시 규칙"),
    "left.stages": (
        "{n} earlier stages are in report.json and not shown in detail.",
        "이전 단계 {n}개의 자세한 내용은 report.json에 있습니다.",
    ),
    "left.rows": (
        "{n} further rows are in report.json.",
        "나머지 {n}행은 report.json에 있습니다.",
    ),
    "settings": ("Settings", "설정"),
    "learning": ("What learned when", "학습한 부분과 시기"),
    "lineage": ("Lineage", "계보"),
    "events": ("Events", "사건 기록"),
    "recipe": ("Recipe", "레시피"),
    "machine": ("Machine", "실행 환경"),
    # before and after
    "evidence.how": (
        "Brackets are 95% intervals, paired by item. A change counts as a gain or a cost only if "
        "its interval excludes 0.",
        "대괄호는 문항별로 짝지은 95% 구간입니다. 구간이 0을 포함하지 않을 때만 개선 또는 손실로 "
        "봅니다.",
    ),
    "evidence.none": ("No metric was measured yet.", "아직 측정한 지표가 없습니다."),
    "metric": ("Metric", "지표"),
    "task": ("Task", "과제"),
    "lengths": ("Length of answers", "답변 길이"),
    "lengths.how": (
        "Length of answers in characters: what 10%, half and 90% of them do not exceed.",
        "답변 길이(글자): 답변의 10%, 절반, 90%가 넘지 않는 길이.",
    ),
    "before": ("Before", "단계 전"),
    "after": ("After", "단계 후"),
    "change": ("Change in this stage", "이 단계의 변화"),
    "vs.base": ("Change from the base", "기본 모델 대비"),
    "plot": ("\u2190 worse | better \u2192", "\u2190 나빠짐 | 좋아짐 \u2192"),
    "plot.how": (
        "Dot and whiskers: the change in this stage and its interval, turned so that right is "
        "better. Metrics of one kind share a scale within a stage.",
        "점과 선은 이 단계의 변화와 그 구간이며, 오른쪽이 좋아진 쪽입니다. 같은 종류의 지표는 한 "
        "단계 안에서 눈금이 같습니다.",
    ),
    "higher": ("higher is better", "높을수록 좋음"),
    "lower": ("lower is better", "낮을수록 좋음"),
    "items": ("n = {n}", "n = {n}"),
    "better": ("better", "좋아짐"),
    "worse": ("worse", "나빠짐"),
    "unclear": ("no clear change", "뚜렷한 변화 없음"),
    "unknown": ("cannot tell", "판단 불가"),
    # curves
    "loss": ("Training loss", "학습 손실"),
    "loss.raw": ("loss", "손실"),
    "loss.smooth": ("smoothed", "평활"),
    "lr": ("learning rate, peak {peak}", "학습률, 최고 {peak}"),
    "heldout": ("Held-out {name}", "평가용 {name}"),
    "grad_norm": ("Gradient norm", "그래디언트 노름"),
    "tokens_per_second": ("Tokens per second", "초당 토큰"),
    "range": ("first {first}, last {last}", "처음 {first}, 끝 {last}"),
    "range.smooth": ("first {first}, smoothed end {last}", "처음 {first}, 평활한 끝 {last}"),
    "nonfinite": (
        "{n} non-finite values, first at step {step}",
        "유한하지 않은 값 {n}개, 처음은 {step}스텝",
    ),
    "more.curves": ("Gradient norm and throughput", "그래디언트 노름과 처리량"),
    "step": ("step", "스텝"),
    "curves.none": ("No curve was recorded yet.", "아직 기록된 곡선이 없습니다."),
    "curves.left": (
        "{n} further held-out curves are in report.json.",
        "나머지 평가 곡선 {n}개는 report.json에 있습니다.",
    ),
    # tokens
    "role.target": ("target", "목표"),
    "role.replay": ("replay", "리플레이"),
    "role.synthetic": ("synthetic", "합성"),
    "data.how": (
        "Tokens in + repeated = trained + masked + dropped, for every source.",
        "출처마다 투입 + 반복 = 학습 + 마스크 + 제외가 성립해야 합니다.",
    ),
    "data.none": ("No data was accounted for yet.", "아직 집계한 데이터가 없습니다."),
    "source": ("Source", "출처"),
    "flow": ("Where they went", "사용 내역"),
    "in": ("In", "투입"),
    "repeated": ("Repeated", "반복"),
    "trained": ("Trained", "학습"),
    "masked": ("Masked", "마스크"),
    "dropped": ("Dropped", "제외"),
    "adds": ("Adds up", "수지"),
    "adds.yes": ("adds up", "맞음"),
    "adds.no": ("off by {n}", "{n} 차이"),
    "adds.warning": (
        "Tokens do not add up here. Treat the numbers of this stage with suspicion and file a bug.",
        "토큰 수지가 맞지 않습니다. 이 단계의 수치를 믿지 말고 버그로 신고해 주십시오.",
    ),
    "card": ("Data card", "데이터 카드"),
    "card.how": (
        "Records in = trained on + held out + dropped.",
        "투입 레코드 = 학습 + 평가용 보류 + 제외.",
    ),
    "card.records_in": ("Records in", "투입 레코드"),
    "card.trained": ("Trained on", "학습"),
    "card.heldout": ("Held out", "평가용 보류"),
    "card.tokens": ("Tokens", "토큰"),
    "card.made": ("Made of", "구성"),
    "card.dropped": ("Dropped, by rule:", "규칙별 제외:"),
    "card.license": ("Licences:", "라이선스:"),
    "card.script": ("Letters, by script:", "문자 종류:"),
    "card.year": ("Years:", "연도:"),
    "card.lengths": ("Lengths in tokens:", "토큰 길이:"),
    "card.cleaned": ("Changed while cleaning:", "정제하며 바꾼 것:"),
    "card.personal": ("Personal data:", "개인정보:"),
    "records": ("{n} records in", "레코드 {n}개 투입"),
    "records.dropped": ("{n} dropped", "{n}개 제외"),
    "stage.dropped": ("Dropped in this stage", "이 단계에서 제외"),
    # refusals, stability
    "plane": ("helpful and harmless", "도움과 안전"),
    "plane.helpful": ("harmless requests answered, %", "무해한 요청에 답한 비율, %"),
    "plane.harmless": ("unsafe requests refused, %", "위험한 요청을 거절한 비율, %"),
    "plane.how": (
        "Refusals are told by their wording: good for changes between these models, no proof of "
        "safety. Up and to the right is better.",
        "거절 여부는 표현으로 가려냅니다. 모델 사이의 변화를 보는 데 알맞으며 안전하다는 증거는 "
        "아닙니다. 오른쪽 위일수록 좋습니다.",
    ),
    "beyond": (
        "{share} of the steps lie more than 3σ above the 64 before them",
        "직전 64스텝의 평균보다 3σ 넘게 높은 스텝 {share}",
    ),
    # samples
    "prompt": ("Prompt", "질문"),
    "empty": ("(empty)", "(빈 답변)"),
    "samples.more": ("{n} more", "{n}개 더 보기"),
    "samples.left": (
        "{n} further samples are in report.json.",
        "나머지 답변 {n}개는 report.json에 있습니다.",
    ),
    "samples.unprinted": (
        "{n} further answers are in the page itself and not on paper: print what a search found.",
        "나머지 답변 {n}개는 인쇄하지 않습니다. 화면에서 찾은 결과는 그대로 인쇄됩니다.",
    ),
    "samples.none": ("No sample answers were written yet.", "아직 답변 예시가 없습니다."),
    # rules
    "stage": ("Stage", "단계"),
    "rule": ("Rule", "규칙"),
    "kind": ("Kind", "종류"),
    "gate": ("gate", "게이트"),
    "monitor": ("monitor", "감시"),
    "outcome": ("Outcome", "결과"),
    "value": ("Value", "값"),
    "limit": ("Limit", "기준"),
    "response": ("Response", "대응"),
    "message": ("What it saw", "내용"),
    "rules.none": ("No rule was judged yet.", "아직 판정한 규칙이 없습니다."),
    # attempts
    "attempts": ("Attempts", "시도"),
    "attempts.how": (
        "A rule that fires changes its stage, a bounded number of times, and the stage goes again.",
        "규칙이 감지되면 정해진 횟수 안에서 단계의 설정을 바꾸어 다시 진행합니다.",
    ),
    "attempts.answer": ("Response: {names}. {changes}", "대응: {names}. {changes}"),
    "attempts.from": ("It went on from {step}.", "{step}에서 이어 갔습니다."),
    "attempts.last": ("No response was left.", "남은 대응이 없었습니다."),
    "attempts.kept": ("Attempt {n} is kept: {why}", "{n}회차를 남겼습니다: {why}"),
    **VOTES,
    # settings, lineage, events
    "setting": ("Setting", "항목"),
    "made.by": ("Step", "작업"),
    "status": ("Status", "상태"),
    "seconds": ("Time", "시간"),
    "inputs": ("Reads", "입력"),
    "identity": ("Identity", "식별자"),
    "output": ("Output", "산출물"),
    "time": ("When", "시각"),
    "event": ("Event", "사건"),
    "text": ("Text", "내용"),
    "events.left": (
        "{n} earlier events are in events.jsonl.",
        "이전 사건 {n}개는 events.jsonl에 있습니다.",
    ),
    # tools
    "theme": ("Light / dark", "밝게 / 어둡게"),
    "language": ("한국어", "English"),
    "by": ("Written by samdan {version}", "samdan {version} 작성"),
}


def say(key: str, **values: Html) -> Html:
    """A wording in both languages; the page shows the one that it is set to."""
    english_text, korean_text = WORDS[key]
    if english_text == korean_text:
        return Html(text(english_text).format(**values))
    return both(Html(text(english_text).format(**values)), Html(text(korean_text).format(**values)))


def both(english_html: Html, korean_html: Html) -> Html:
    if english_html == korean_html:
        return english_html
    return join((tag("span", english_html, cls="e"), tag("span", korean_html, cls="k")))


def known(group: str, word: object) -> Html:
    """The wording of a status, kind or role if there is one, else the word itself."""
    key = f"{group}.{word}"
    return say(key) if key in WORDS else text(word)


def english(key: str, **values: str) -> str:
    return WORDS[key][0].format(**values)


def in_turn(key: str) -> dict[str, str]:
    """Attributes of an element whose label the page's script puts into its language."""
    english_text, korean_text = WORDS[key]
    return {"data_say_e": english_text, "data_say_k": korean_text}


def spoken(key: str) -> str:
    """Both languages in one string, for attributes and the titles of drawings."""
    english_text, korean_text = WORDS[key]
    return english_text if english_text == korean_text else f"{english_text} / {korean_text}"
