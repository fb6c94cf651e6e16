// @ts-check
/**
 * Every text of the pages, in both languages.
 *
 * @module
 */

/** @typedef {"bn" | "en"} Language */

const BENGALI = {
  title: "মনের কথা",
  subtitle: "বাংলায় সহমর্মী উত্তর দিতে শেখা একটি মডেলের সঙ্গে কথা বলুন",
  studyTitle: "মনের কথা · মূল্যায়ন",
  studySubtitle: "কোন উত্তর কার, তা না জেনে উত্তরগুলো বিচার করুন",
  skip: "সরাসরি লেখার ঘরে যান",
  skipStudy: "সরাসরি মূল্যায়নে যান",
  otherLanguage: "English",
  theme: "রং",
  themeSystem: "যন্ত্রের মতো",
  themeLight: "হালকা",
  themeDark: "গাঢ়",

  helpTitle: "বিপদে আছেন, বা নিজেকে শেষ করে দেওয়ার কথা মনে আসছে?",
  helpLead: "এখনই ফোন করুন। কাছের বিশ্বস্ত কাউকেও জানান।",
  helpMore: "সব নম্বর ও সময়",
  helpBD: "বাংলাদেশ",
  helpIN: "ভারত",
  notice:
    "এটি শেখা ও গবেষণার জন্য বানানো একটি কম্পিউটার প্রোগ্রাম। এটি মানুষ নয়, চিকিৎসকও নয়; রোগনির্ণয়, ওষুধ বা আইনি পরামর্শ দেয় না এবং ভুল কথা বলতে পারে।",

  modeLegend: "কীভাবে উত্তর দেখবেন",
  modeSingle: "একটি উত্তর",
  modeSideBySide: "পাশাপাশি",
  modeBlind: "নাম ঢেকে তুলনা",
  modeSingleHint: "প্রশিক্ষিত মডেলের উত্তর।",
  modeBaseHint: "প্রশিক্ষণের আগের মডেলের উত্তর।",
  modeSideBySideHint: "প্রশিক্ষণের আগের ও পরের মডেলের উত্তর, পাশাপাশি।",
  modeBlindHint: "দুই মডেলের উত্তর এলোমেলো ক্রমে; নম্বর দেওয়ার পরে নাম দেখা যাবে।",

  questionLabel: "আপনার কথা",
  questionPlaceholder: "যা মনে আসছে, নিজের মতো করে লিখুন…",
  questionHint: "Enter চাপলে পাঠানো হয়, Shift+Enter চাপলে নতুন লাইন।",
  send: "পাঠান",
  stop: "থামান",
  restart: "নতুন কথোপকথন",
  settings: "উত্তরের ধরন",
  temperature: "বৈচিত্র্য (০ হলে প্রতিবার একই উত্তর)",
  seed: "এলোমেলো সংখ্যার বীজ",

  conversation: "কথোপকথন",
  you: "আপনি",
  base: "প্রশিক্ষণের আগের মডেল",
  tuned: "প্রশিক্ষিত মডেল",
  reference: "মূল উত্তর",
  answerA: "উত্তর ক",
  answerB: "উত্তর খ",
  answerC: "উত্তর গ",
  writing: "লিখছে…",
  finished: "উত্তর শেষ হয়েছে।",
  cutByLength: "উত্তরটি সর্বোচ্চ দৈর্ঘ্যে পৌঁছে থেমে গেছে।",
  stopped: "আপনি উত্তরটি থামিয়েছেন।",
  oldestDropped: "কথোপকথন লম্বা হয়ে গেছে: মডেল সবচেয়ে আগের কথাগুলো আর দেখছে না।",
  incomplete: "উত্তরটি সম্পূর্ণ হয়নি।",
  fixedReply: "নিরাপত্তার জন্য আগে থেকে লেখা উত্তর; মডেলকে জিজ্ঞেস করা হয়নি।",
  replacedReply: "মডেলের উত্তরের একটি অংশ নিরাপদ ছিল না, তাই বদলে দেওয়া হয়েছে।",

  consentTitle: "আপনার মতামত রাখা যাবে কি?",
  consentKept:
    "রাজি হলে এই সার্ভারের একটি ফাইলে রাখা হবে: যে উত্তরগুলো বিচার করেছেন, তার আগের কথোপকথন, আপনার দেওয়া নম্বর, সময়, আর এলোমেলোভাবে বানানো একটি চিহ্ন, যাতে একজনের মতামত আরেকজনের থেকে আলাদা করা যায়। আপনার নাম বা ইন্টারনেট ঠিকানা রাখা হয় না।",
  consentStudyKept:
    "রাজি হলে এই সার্ভারের একটি ফাইলে রাখা হবে: আপনার দেওয়া নাম বা সংকেত, আপনার নম্বর, প্রশ্নের ক্রমিক আর সময়। ইন্টারনেট ঠিকানা রাখা হয় না। আসল নাম না দিয়ে সংকেত দিতে পারেন।",
  consentUse: "মডেলগুলোর তুলনা করতে আর পড়ানোর কাজে এগুলো ব্যবহার করা হবে।",
  consentFree:
    "রাজি না হলেও কথা বলতে পারবেন, তখন কিছুই রাখা হবে না। যখন খুশি মত বদলাতে পারেন; তারপর থেকে নতুন কিছু রাখা হবে না।",
  consentStudyFree:
    "রাজি না হলে কিছুই রাখা হবে না, মূল্যায়নও শুরু হবে না। মাঝপথে থামতে পারেন; পরে একই নামে এসে বাকিটা করতে পারেন।",
  consentNames: "লেখায় নিজের বা অন্য কারও নাম, ফোন নম্বর বা ঠিকানা দেবেন না।",
  agree: "রাজি আছি",
  decline: "রাজি নই",
  consentGiven: "আপনি মতামত রাখতে রাজি হয়েছেন।",
  consentRefused: "আপনি রাজি হননি; কিছুই রাখা হচ্ছে না।",
  consentChange: "মত বদলান",

  rateTitle: "উত্তরটি কেমন লাগল?",
  rateOf: "নম্বর দিন",
  thumbLegend: "এক কথায়",
  thumbUp: "ভালো",
  thumbDown: "ভালো নয়",
  save: "মতামত রাখুন",
  saveAndReveal: "মতামত রেখে নাম দেখুন",
  reveal: "নাম দেখুন",
  saved: "আপনার মতামত রাখা হয়েছে। ধন্যবাদ।",
  notSaved: "মতামত রাখা যায়নি:",
  rateSomething: "আগে অন্তত একটি নম্বর বা “ভালো / ভালো নয়” বেছে নিন।",
  revealed: "এটি ছিল:",

  reaction: "আবেগের সাড়া",
  reaction0: "নেই, শীতল, বা দোষ দেয়",
  reaction1: "সাধারণ কথা, যেমন “সব ঠিক হয়ে যাবে” বা শুধু “দুঃখিত”",
  reaction2: "ঠিক এই পরিস্থিতির জন্য আন্তরিক উদ্বেগ বা আনন্দ",
  interpretation: "অনুভূতি বোঝা",
  interpretation0: "অনুভূতি এড়িয়ে যায় বা ছোট করে দেখে",
  interpretation1: "সাধারণ কথা, যেমন “আপনার কষ্ট বুঝতে পারছি”",
  interpretation2: "কী অনুভব করছেন বা কেন, তা নির্দিষ্ট করে বলে",
  exploration: "আরও জানতে চাওয়া",
  exploration0: "কিছু জানতে চায় না, বা জেরা করে",
  exploration1: "সাধারণ প্রশ্ন, যেমন “কী হয়েছে?”",
  exploration2: "এই পরিস্থিতি নিয়ে কোমল, নির্দিষ্ট একটি প্রশ্ন",
  support: "সহায়তা ও নিজের ইচ্ছা",
  support0: "সহায়তা নেই, হুকুম করে, বা ক্ষতি করতে পারে",
  support1: "“পাশে আছি”, বা অস্পষ্ট পরামর্শ",
  support2: "মানানসই একটি পদক্ষেপ বলে, করা না করা আপনার ইচ্ছা",

  errorGone: "উত্তরটি মাঝপথে থেমে গেছে: সার্ভারের সঙ্গে যোগাযোগ নেই। সার্ভার চলছে কি না দেখে আবার চেষ্টা করুন।",
  errorBroken: "উত্তরটি মাঝপথে থেমে গেছে। আবার চেষ্টা করুন।",
  errorUnreachable: "সার্ভারের সঙ্গে যোগাযোগ করা যাচ্ছে না। সার্ভার চালু করে আবার চেষ্টা করুন।",
  errorBusy: "এখন অনেকে কথা বলছেন। একটু পরে আবার চেষ্টা করুন।",
  errorTooLong: "কথাটি বেশি বড় হয়ে গেছে। ছোট করে লিখুন, বা নতুন কথোপকথন শুরু করুন।",
  errorToken: "প্রবেশের সময় শেষ হয়েছে। পাতাটি আবার খুলে টোকেন দিন।",
  errorOther: "কিছু একটা ভুল হয়েছে:",
  retry: "আবার চেষ্টা করুন",

  raterLabel: "আপনার নাম বা সংকেত",
  raterHint: "একই নামে ফিরে এলে যেখানে থেমেছিলেন, সেখান থেকে শুরু হবে।",
  begin: "শুরু করুন",
  instructionsTitle: "কীভাবে বিচার করবেন",
  instructions:
    "প্রতিটি প্রশ্নের তিনটি উত্তর দেখবেন; কোনটি কার লেখা, তা বলা হবে না। চারটি দিক থেকে প্রতিটি উত্তরে ০, ১ বা ২ দিন। লম্বা উত্তর মানেই ভালো উত্তর নয়। দ্বিধা হলে কম নম্বরটি দিন।",
  questionOf: "প্রশ্ন",
  progress: "অগ্রগতি",
  next: "রেখে পরেরটি দেখুন",
  rateAll: "সব উত্তরের চারটি দিকেই নম্বর দিন। বাকি আছে:",
  allDone: "সব প্রশ্ন শেষ। আপনার সময়ের জন্য আন্তরিক ধন্যবাদ।",
  toChat: "কথা বলার পাতা",
  toStudy: "মূল্যায়নের পাতা",
};

/** @type {Readonly<Record<keyof typeof BENGALI, string>>} */
const ENGLISH = {
  title: "Moner Kotha",
  subtitle: "Talk with a model that has learned to answer with empathy, in Bengali",
  studyTitle: "Moner Kotha · Study",
  studySubtitle: "Judge answers without knowing whose they are",
  skip: "Skip to writing",
  skipStudy: "Skip to rating",
  otherLanguage: "বাংলা",
  theme: "Colours",
  themeSystem: "As the device",
  themeLight: "Light",
  themeDark: "Dark",

  helpTitle: "In danger, or thinking of ending your life?",
  helpLead: "Call now. Tell someone near you whom you trust, too.",
  helpMore: "All numbers and hours",
  helpBD: "Bangladesh",
  helpIN: "India",
  notice:
    "This is a computer program made for learning and research. It is no human being and no doctor; it gives no diagnosis, medication or legal advice, and it can be wrong.",

  modeLegend: "How to see answers",
  modeSingle: "One answer",
  modeSideBySide: "Side by side",
  modeBlind: "Blind",
  modeSingleHint: "The tuned model's answer.",
  modeBaseHint: "The answer of the model before training.",
  modeSideBySideHint: "The model before and after training, side by side.",
  modeBlindHint: "Both models in random order; the names are shown after you rate.",

  questionLabel: "Your message",
  questionPlaceholder: "Write what is on your mind, in Bengali…",
  questionHint: "Enter sends, Shift+Enter starts a new line.",
  send: "Send",
  stop: "Stop",
  restart: "New conversation",
  settings: "How answers are drawn",
  temperature: "Variety (0: the same answer every time)",
  seed: "Seed of the random numbers",

  conversation: "Conversation",
  you: "You",
  base: "Base model",
  tuned: "Tuned model",
  reference: "Reference",
  answerA: "Answer A",
  answerB: "Answer B",
  answerC: "Answer C",
  writing: "Writing…",
  finished: "The answer is complete.",
  cutByLength: "The answer reached the longest length and was cut.",
  stopped: "You stopped the answer.",
  oldestDropped: "The conversation has grown long: the model no longer sees its oldest part.",
  incomplete: "The answer is not complete.",
  fixedReply: "A reply written beforehand, for safety; the model was not asked.",
  replacedReply: "Part of the model's answer was not safe and was replaced.",

  consentTitle: "May we keep your ratings?",
  consentKept:
    "If you agree, a file on this server keeps the answers you rate, the conversation before them, your ratings, the time, and a random mark that tells one visitor's ratings from another's. Your name and internet address are not kept.",
  consentStudyKept:
    "If you agree, a file on this server keeps the name or code you give, your ratings, the number of the question and the time. Your internet address is not kept. A code will do instead of your name.",
  consentUse: "They are used to compare the models and to teach.",
  consentFree:
    "If you do not agree you can talk all the same, and nothing is kept. You can change your mind at any time; nothing new is kept from then on.",
  consentStudyFree:
    "If you do not agree, nothing is kept and the study does not begin. You may stop at any time and go on later under the same name.",
  consentNames: "Please write no names, phone numbers or addresses, yours or anyone's.",
  agree: "I agree",
  decline: "I do not agree",
  consentGiven: "You have agreed that ratings are kept.",
  consentRefused: "You have not agreed; nothing is kept.",
  consentChange: "Change",

  rateTitle: "What do you think of the answer?",
  rateOf: "Rate",
  thumbLegend: "In a word",
  thumbUp: "Good",
  thumbDown: "Not good",
  save: "Save rating",
  saveAndReveal: "Save and show the names",
  reveal: "Show the names",
  saved: "Your rating has been saved. Thank you.",
  notSaved: "The rating could not be saved:",
  rateSomething: "First choose at least one level, or good / not good.",
  revealed: "This was the",

  reaction: "Emotional reaction",
  reaction0: "None, cold, or blaming",
  reaction1: "Generic, such as “everything will be fine” or a bare “sorry”",
  reaction2: "Sincere concern or joy about this very situation",
  interpretation: "Interpretation",
  interpretation0: "Ignores or minimises the feeling",
  interpretation1: "Generic, such as “I understand your pain”",
  interpretation2: "Says specifically what is felt, or why",
  exploration: "Exploration",
  exploration0: "Asks nothing, or interrogates",
  exploration1: "A generic question, such as “what happened?”",
  exploration2: "One gentle, specific question about this situation",
  support: "Support and agency",
  support0: "None, commanding, or unsafe",
  support1: "“I am here for you”, or vague advice",
  support2: "A fitting step that leaves the choice to the person",

  errorGone:
    "The answer broke off: the server cannot be reached. See whether it is running, then try again.",
  errorBroken: "The answer broke off. Try again.",
  errorUnreachable: "The server cannot be reached. Start it, then try again.",
  errorBusy: "Many people are talking right now. Try again in a moment.",
  errorTooLong: "That is too long. Write less, or begin a new conversation.",
  errorToken: "Your session has ended. Open the page again and give the token.",
  errorOther: "Something went wrong:",
  retry: "Try again",

  raterLabel: "Your name or code",
  raterHint: "Come back under the same name to go on where you stopped.",
  begin: "Begin",
  instructionsTitle: "How to judge",
  instructions:
    "For every question you see three answers; whose they are is not shown. Give each answer 0, 1 or 2 on four criteria. A longer answer is not a better one. When in doubt, give the lower level.",
  questionOf: "Question",
  progress: "Progress",
  next: "Save and go on",
  rateAll: "Rate every answer on all four criteria. Still missing:",
  allDone: "That was the last question. Thank you for your time.",
  toChat: "Talk to the model",
  toStudy: "Study",
};

/** @typedef {keyof typeof BENGALI} TextKey */

/** @type {Readonly<Record<Language, Readonly<Record<TextKey, string>>>>} */
export const TEXTS = { bn: BENGALI, en: ENGLISH };

/** Criteria of the rubric, in its order. */
export const CRITERIA = /** @type {const} */ ([
  "reaction",
  "interpretation",
  "exploration",
  "support",
]);

/** @typedef {typeof CRITERIA[number]} Criterion */
